"""Small text encoders, one of each common kind."""

import transformers

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 64}


def configs() -> list[transformers.PretrainedConfig]:
    """Their configurations, fresh at each call, since a model changes its own."""
    return [
        transformers.BertConfig(**SIZES),
        transformers.RobertaConfig(**SIZES, max_position_embeddings=16),
        transformers.ElectraConfig(**SIZES, embedding_size=8),
        transformers.DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=64),
    ]
