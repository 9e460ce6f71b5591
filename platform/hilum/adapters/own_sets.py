"""The sets that a user has to get by hand, each with its home, licence, citation, and the layout it comes in.

They are the pretraining set and the five targets of Models Genesis
(https://doi.org/10.1016/j.media.2020.101840).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hilum.adapters import brats, candidate_sets, lits, luna16, nodule_crops
from hilum.adapters.own_cases import OwnSet, Wishes
from hilum.core.errors import RecipeError, unknown_name

_LUNA16_LICENCE = "CC BY 4.0 (the scans are LIDC-IDRI's, CC BY 3.0)"
_LUNA16_CITATION = (
    "A. A. A. Setio et al., Medical Image Analysis 42:1, 2017, https://doi.org/10.1016/j.media.2017.06.015; "
    "S. G. Armato III et al., Medical Physics 38:915, 2011, https://doi.org/10.1118/1.3528204"
)
OWN_SETS = {
    found.name: found
    for found in (
        OwnSet(
            "luna16",
            "LUNA16: 888 chest CT scans without labels, to pretrain on.",
            "https://luna16.grand-challenge.org",
            _LUNA16_LICENCE,
            _LUNA16_CITATION,
            luna16.EXPECTS,
            (),
            luna16.cases,
        ),
        OwnSet(
            "ncc",
            "NCC, lung nodules in CT: is this candidate of LUNA16 one?",
            "https://luna16.grand-challenge.org",
            _LUNA16_LICENCE,
            _LUNA16_CITATION,
            candidate_sets.NCC_EXPECTS,
            candidate_sets.NCC_CLASSES,
            candidate_sets.ncc_cases,
            ("negatives", "seed"),
        ),
        OwnSet(
            "ncs",
            "NCS, lung nodules in CT: outline them (LIDC-IDRI).",
            "https://www.cancerimagingarchive.net/collection/lidc-idri",
            "CC BY 3.0",
            "S. G. Armato III et al., Medical Physics 38:915, 2011, https://doi.org/10.1118/1.3528204; data: "
            "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX",
            nodule_crops.EXPECTS,
            nodule_crops.CLASS_NAMES,
            nodule_crops.cases,
            ("seed",),
        ),
        OwnSet(
            "ecc",
            "ECC, pulmonary embolism in CT angiography: is this candidate one? (Any set of listed candidates.)",
            "https://doi.org/10.1007/978-3-319-24571-3_8",
            "the thesis' own set is not public; whose scans you have says what you may do with them",
            "N. Tajbakhsh et al., MICCAI 2015, https://doi.org/10.1007/978-3-319-24571-3_8",
            candidate_sets.ECC_EXPECTS,
            candidate_sets.ECC_CLASSES,
            candidate_sets.ecc_cases,
            ("negatives", "seed"),
        ),
        OwnSet(
            "lcs",
            "LCS, the liver in CT: outline it (LiTS, 131 volumes).",
            "https://competitions.codalab.org/competitions/17094",
            "CC BY-NC-ND 4.0 (say its makers; read it where you get the set)",
            "P. Bilic et al., The Liver Tumor Segmentation Benchmark, Medical Image Analysis 84:102680, 2023, "
            "https://doi.org/10.1016/j.media.2022.102680",
            lits.EXPECTS,
            lits.CLASS_NAMES,
            lits.cases,
        ),
        OwnSet(
            "bms",
            "BMS, brain tumours in MR: outline them (BraTS'18, 285 patients, three folds).",
            "https://www.med.upenn.edu/sbia/brats2018/data.html",
            "on request from the makers; not to be passed on",
            "B. H. Menze et al., IEEE Transactions on Medical Imaging 34:1993, 2015, "
            "https://doi.org/10.1109/TMI.2014.2377694; S. Bakas et al., Scientific Data 4:170117, 2017, "
            "https://doi.org/10.1038/sdata.2017.117",
            brats.EXPECTS,
            brats.CLASS_NAMES,
            brats.cases,
            ("fold", "modality", "seed"),
        ),
    )
}


def own_set(name: str) -> OwnSet:
    """The set called ``name``; an unknown name is a RecipeError that guesses."""
    if name not in OWN_SETS:
        raise RecipeError(unknown_name("set to prepare", name, OWN_SETS))
    return OWN_SETS[name]


def wishes_for(wanted: OwnSet, given: Mapping[str, Any]) -> Wishes:
    """What was asked for; RecipeError for what this set knows nothing of."""
    said = {option: value for option, value in given.items() if value is not None}
    for option in said:
        if option not in wanted.options:
            known = ", ".join(f"--{name}" for name in wanted.options) or "none"
            raise RecipeError(f"{wanted.name} has no option --{option}. It knows: {known}.")
    if said.get("negatives", 0) < 0 or said.get("seed", 0) < 0:
        raise RecipeError("--negatives and --seed are 0 or more.")
    return replace(Wishes(), **said)
