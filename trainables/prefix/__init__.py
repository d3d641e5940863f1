"""The frozen-prefix cache: outputs of frozen blocks, computed once for all trials."""
