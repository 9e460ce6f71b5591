"""What a step computes. Recipes are frozen, hashed into the result's name, and refuse unknown keys.

A ``Choice`` names one of an extension point's functions (`kind`) with that function's own
parameters beside it; the registry checks them before any work starts. `kind` never has a
default: a default would vanish from the hash, and two different functions would get one name.
"""

from hilum.core.recipes.asking import (
    ArmRecipe,
    CostRecipe,
    DistributedRecipe,
    ForegroundRecipe,
    QuotaRecipe,
    RelabelRecipe,
    ScoreRecipe,
    SelectRecipe,
    has_core_sets,
)
from hilum.core.recipes.base import (
    ORIENTATION_PAIRS,
    Choice,
    Millimetres,
    Orientation,
    Percentile,
    Plane,
    Question,
    Recipe,
    ShapeZyx,
    Share,
)
from hilum.core.recipes.campaigns import BudgetRecipe, CampaignRecipe, SimulateRecipe, StopRecipe
from hilum.core.recipes.comparing import ComparePretrainingRecipe, TargetRecipe
from hilum.core.recipes.images import (
    WINDOWS_HU,
    BodyCropRecipe,
    IngestRecipe,
    PoolRecipe,
    PrepareRecipe,
    SliceRecipe,
    SplitRecipe,
    WindowRecipe,
)
from hilum.core.recipes.judging import CalibrateRecipe, EvaluateRecipe, PromoteRecipe, PruneRecipe
from hilum.core.recipes.pretraining import DISCOVERING, DiscoverRecipe, DiscoveryRecipe, PretrainRecipe, SamplingRecipe
from hilum.core.recipes.schedules import ScheduleRecipe
from hilum.core.recipes.training import (
    ConsistencyRecipe,
    EarlyStopRecipe,
    FinetuneRecipe,
    LearningLossRecipe,
    MisclassifiedRecipe,
    TrainingRecipe,
)

__all__ = [
    "DISCOVERING",
    "ORIENTATION_PAIRS",
    "WINDOWS_HU",
    "ArmRecipe",
    "BodyCropRecipe",
    "BudgetRecipe",
    "CalibrateRecipe",
    "CampaignRecipe",
    "Choice",
    "ComparePretrainingRecipe",
    "ConsistencyRecipe",
    "CostRecipe",
    "DiscoverRecipe",
    "DiscoveryRecipe",
    "DistributedRecipe",
    "EarlyStopRecipe",
    "EvaluateRecipe",
    "FinetuneRecipe",
    "ForegroundRecipe",
    "IngestRecipe",
    "LearningLossRecipe",
    "Millimetres",
    "MisclassifiedRecipe",
    "Orientation",
    "Percentile",
    "Plane",
    "PoolRecipe",
    "PrepareRecipe",
    "PretrainRecipe",
    "PromoteRecipe",
    "PruneRecipe",
    "Question",
    "QuotaRecipe",
    "Recipe",
    "RelabelRecipe",
    "SamplingRecipe",
    "ScheduleRecipe",
    "ScoreRecipe",
    "SelectRecipe",
    "ShapeZyx",
    "Share",
    "SimulateRecipe",
    "SliceRecipe",
    "SplitRecipe",
    "StopRecipe",
    "TargetRecipe",
    "TrainingRecipe",
    "WindowRecipe",
    "has_core_sets",
]
