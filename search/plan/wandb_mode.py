"""Whether a search is shown in W&B, by what was asked for and what is configured. No server is contacted."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

MODES = ("online", "offline", "off")

_OF_SETTING = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
}
"""W&B's own words for a mode."""

_NO_KEY = "no key is configured; run `wandb login` or set WANDB_API_KEY"


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbMode:
    """Whether and how a search is shown in W&B."""

    mode: str
    """One of `MODES`."""
    reason: str
    """Why it is this mode."""
    artifact: bool = False
    """Whether the winner's model is uploaded."""
    asked: bool = False
    """Whether this session was started with `--wandb`."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"W&B's mode is one of {', '.join(MODES)}, got {self.mode!r}")


def choose(asked: str | None, kept: str | None, setting: str, has_key: bool) -> tuple[str, str]:
    """The mode of a search, one of `MODES`, and why.

    Args:
        asked: for with `--wandb`; None where it was not given.
        kept: the mode of the search that goes on; None for a new one.
        setting: W&B's own, by WANDB_MODE or `wandb offline`; empty where there is none.
        has_key: whether a key for the server is configured.

    Raises:
        ValueError: online was asked for and there is no key, or a mode that W&B does not have.
    """
    if asked is not None:
        if asked == "online" and not has_key:
            raise ValueError(f"--wandb online: {_NO_KEY}")
        return asked, "as asked"
    if kept is not None:
        return ("offline", _NO_KEY) if kept == "online" and not has_key else (kept, "as the search began")
    if setting and setting.lower() not in _OF_SETTING:
        raise ValueError(f"WANDB_MODE is one of {', '.join(_OF_SETTING)}, got {setting!r}")
    mode = _OF_SETTING[setting.lower()] if setting else "online"
    if mode == "online":
        return ("online", "a key is configured") if has_key else ("off", _NO_KEY)
    return mode, f"W&B's own mode is {setting}"


def resolve(asked: str | None, kept: str | None, artifact: bool = False) -> WandbMode:
    """`choose` for this process: it looks for a key only where the answer depends on one.

    Args:
        asked: as for `choose`.
        kept: as for `choose`.
        artifact: whether the winner's model is to be uploaded.

    Raises:
        ValueError: as `choose`.
    """
    setting = os.environ.get("WANDB_MODE", "")
    mode, reason = choose(asked, kept, setting, has_key=True)
    if mode == "online":
        has_key, configured = _configured()
        mode, reason = choose(asked, kept, setting or configured, has_key)
    return WandbMode(mode=mode, reason=reason, artifact=artifact, asked=asked is not None)


def _configured() -> tuple[bool, str]:
    """Whether W&B's client finds a key for its server, and its mode where that is not the default.

    Whether the server takes the key is not asked.
    """
    variables = any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"))
    if not variables and not any(path.is_file() for path in _places()):
        return False, ""  # without W&B's client, whose import takes 1 to 4 s
    from wandb.errors import AuthenticationError
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib.wbauth import wbnetrc

    with contextlib.redirect_stderr(io.StringIO()):  # it tells which files it reads
        settings = wandb_setup.singleton().settings
        mode = "" if settings.mode == "online" else settings.mode
        try:
            netrc = wbnetrc.read_netrc_auth(host=settings.base_url)
        except AuthenticationError:  # what stands there cannot be a key
            netrc = None
    return bool(settings.api_key or settings.identity_token_file or netrc), mode


def _places() -> list[Path]:
    """Files in which W&B's client looks for a key."""
    home, netrc, folder = Path.home(), os.environ.get("NETRC"), os.environ.get("WANDB_CONFIG_DIR")
    return [
        *([Path(netrc).expanduser()] if netrc else [home / ".netrc", home / "_netrc"]),
        (Path(folder).expanduser() if folder else home / ".config" / "wandb") / "settings",
        Path("wandb") / "settings",
    ]
