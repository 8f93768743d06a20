"""The configuration file as typed values. Loaded once, read only by `bootstrap` and `cli`.

Every mistake is told with file, line, reason and the nearest known name; unknown keys are refused. References
(`${env:NAME}`, `${file:path}`) are resolved by `bootstrap`; a provider's secret stays one until a data worker needs it.
"""

from ostiary.settings.alert import WebhookSettings
from ostiary.settings.file import (
    DEFAULT_TEAM,
    DEFAULT_TENANT,
    FILE_BYTES_MAX,
    Loaded,
    Settings,
    check_supplied_key,
    find_file,
    load,
    schema,
)
from ostiary.settings.installation import AdminSettings, ServerSettings, StorageSettings
from ostiary.settings.limit import BudgetSettings, IncreaseSettings, LimitSettings
from ostiary.settings.model import (
    AnswerCacheSettings,
    DegradedSettings,
    FallbackSettings,
    HedgeSettings,
    KnownSettings,
    ModelSettings,
    QualitySettings,
    ShadowSettings,
    TargetSettings,
)
from ostiary.settings.overload import CapacitySettings
from ostiary.settings.price import PriceSettings, RateSettings
from ostiary.settings.provider import AuthSettings, KeySecretSettings, ProviderSettings
from ostiary.settings.tenant import EachTeamSettings, KeySettings, TeamSettings, TierOfTeamsSettings

__all__ = [
    "DEFAULT_TEAM",
    "DEFAULT_TENANT",
    "FILE_BYTES_MAX",
    "AdminSettings",
    "AnswerCacheSettings",
    "AuthSettings",
    "BudgetSettings",
    "CapacitySettings",
    "DegradedSettings",
    "EachTeamSettings",
    "FallbackSettings",
    "HedgeSettings",
    "IncreaseSettings",
    "KeySecretSettings",
    "KeySettings",
    "KnownSettings",
    "LimitSettings",
    "Loaded",
    "ModelSettings",
    "PriceSettings",
    "ProviderSettings",
    "QualitySettings",
    "RateSettings",
    "ServerSettings",
    "Settings",
    "ShadowSettings",
    "StorageSettings",
    "TargetSettings",
    "TeamSettings",
    "TierOfTeamsSettings",
    "WebhookSettings",
    "check_supplied_key",
    "find_file",
    "load",
    "schema",
]
