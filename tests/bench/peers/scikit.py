"""T and E: scikit-learn's logistic regression on TF-IDF, or on the mean-pooled vectors of the pretrained model.

    python -m tests.bench.peers.scikit JOB

What a user would write in ten lines, on all rows: words and pairs of words
(https://scikit-learn.org/stable/tutorial/text_analytics), or embeddings as
https://sbert.net/docs/sentence_transformer/usage/usage.html makes them. T has the settings of Frostline's own baseline
(`trainables/text/tfidf.py`), which are stronger than the defaults.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tests.bench import job as jobs
from tests.bench.own_data import answers
from tests.bench.own_data.rows import read


def embed(texts: list[str], job: jobs.Job) -> np.ndarray:
    """Mean of the last layer's vectors of each text's tokens [texts, width]; batches of about the same length."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(job.model, trust_remote_code=False)
    model: Any = AutoModel.from_pretrained(job.model, trust_remote_code=False).eval()
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    vectors = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), 32):
            numbers = order[start : start + 32]
            some = [texts[number] for number in numbers]
            batch = tokenizer(some, truncation=True, max_length=job.length, padding=True, return_tensors="pt")
            mask = batch["attention_mask"].unsqueeze(-1)
            vectors[numbers] = ((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)).numpy()
    return vectors


def main() -> None:
    """Fit, and answer the held-out rows."""
    job = jobs.load(sys.argv[1])
    (texts, labels), (asked, _) = read(job.table), read(Path(job.table).with_name("test.csv"))
    if job.system == "T":
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", min_df=2)
        model = LogisticRegression(C=10.0, max_iter=1000).fit(words.fit_transform(texts), labels)
    else:
        model = LogisticRegression(max_iter=5000).fit(embed(texts, job), labels)
    (Path(job.scratch) / answers.FITTED).write_text(json.dumps(time.time()))
    inputs = words.transform(asked) if job.system == "T" else embed(asked, job)
    (Path(job.scratch) / answers.ANSWERS).write_text(json.dumps(model.predict(inputs).tolist()))


if __name__ == "__main__":
    main()
