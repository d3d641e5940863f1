"""The entry: `python search/run.py --space bert_imdb`, from any directory. In a wheel it is `python -m frostline`."""

import os
import sys
from pathlib import Path

_FILE = Path(__file__).resolve()
if _FILE.name == "run.py":
    # The folder that `frostline` lies in replaces this file's own, which Python puts first. Processes that the search
    # starts (Ray's workers, W&B's client) have to find it too, also where nothing was installed.
    sys.path[0] = str(_FILE.parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (sys.path[0], os.environ.get("PYTHONPATH"))))
elif not sys.flags.safe_path:
    del sys.path[0]  # the working directory, whose modules could replace those that an installation needs

from frostline.search.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
