import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from frostline.search.cluster.connection import ClusterLostError
from frostline.search.cluster.watch import Watch


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_dead_process_of_our_own_ray_is_noticed_at_the_next_poll(tmp_path: Path, name: str) -> None:
    node = tmp_path / name
    shutil.copy(shutil.which("sleep") or "/bin/sleep", node)
    with subprocess.Popen([str(node), "600"]) as process:
        watch = Watch()
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with pytest.raises(ClusterLostError, match=f"^its process {name} has died$"):
            watch.after_loss()
        watch._polled -= 60  # the last poll was a minute ago
        with pytest.raises(ClusterLostError, match=f"^its process {name} has died$"):
            watch.poll()
