"""Hand-overs out of stamps; that both searches run is seen by running the bench."""

from tests.bench.warm_slots import BEGUN, GIVEN, MADE, SENT, HandOver, hand_overs


def test_a_hand_over_is_from_the_last_report_to_the_next_first_step() -> None:
    stamps = [
        *((0.0, BEGUN), (1.0, MADE), (5.0, SENT), (9.0, SENT)),
        *((9.5, BEGUN), (10.0, MADE), (12.0, SENT)),
        *((12.75, GIVEN), (14.0, BEGUN), (17.0, MADE), (20.0, SENT)),
    ]
    assert hand_overs(stamps) == hand_overs(stamps[::-1]) == [HandOver(0.5, 0.5, 1.0), HandOver(0.75, 2.0, 5.0)]


def test_one_trial_hands_nothing_over() -> None:
    assert hand_overs([(0.0, BEGUN), (1.0, MADE), (5.0, SENT)]) == []
    assert hand_overs([]) == []
