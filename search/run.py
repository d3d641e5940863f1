"""The entry: `python search/run.py --space bert_imdb`, from any directory."""

import sys
from pathlib import Path

# Python puts this file's own folder first, where `search/plan.py` would answer to `import plan`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
