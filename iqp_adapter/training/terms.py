"""Loss terms and options that a configuration gives to stages are known before any picture is read."""

from __future__ import annotations

from ..native import preset
from . import adapter_stages, native_stages
from .config import AdapterConfig, StageConfig, TrainConfig
from .stages import Stage


def refuse_unknown_terms(config: TrainConfig | AdapterConfig, source: str) -> None:
    """Checks the stages of a configuration as far as they do not depend on a host.

    Args:
        source: the file that the configuration is from, for the message.

    Raises:
        ValueError: for a stage that the model does not have, and for a loss weight or an option that the stage does not
            have; in adapter training, where it does not have it for any host.
    """
    for name, settings in config.stages.items():
        try:
            kinds = _native(config, name) if isinstance(config, TrainConfig) else _of_adapter(config, name)
            _check_any(kinds, settings)
        except ValueError as error:
            raise ValueError(f"{source}: {name}: {error}") from None


def _check_any(kinds: list[type[Stage]], settings: StageConfig) -> None:
    refusals = []
    for kind in kinds:
        try:
            kind.check(settings)
        except ValueError as error:
            refusals.append(error)
    if len(refusals) == len(kinds):
        raise refusals[-1]


def _native(config: TrainConfig, name: str) -> list[type[Stage]]:
    return [native_stages.kind_of_stage(name, preset(config.preset, **config.changes), config.optimised)]


def _of_adapter(config: AdapterConfig, name: str) -> list[type[Stage]]:
    return [adapter_stages.kind_of_stage(name, config.learns, steers_codes) for steers_codes in (False, True)]
