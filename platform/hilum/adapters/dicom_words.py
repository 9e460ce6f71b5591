"""The words that a DICOM header may keep: defined terms, makers and the names of their machines.

A word that is not here is not kept, whoever wrote it. Names of machines are matched by family,
so that a site's own name for its scanner does not come along.
"""

import re


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITIES = _set(
    "AR BMD CR CT CTPROTOCOL DMS DX ECG ES FA FID FS GM HC IO IVOCT IVUS KER MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF "
    "OPV OSS OT PT PX RF RG RTDOSE RTIMAGE RTSTRUCT SC SEG SM SMR SRF STAIN TG US VA XA XC"
)
MODALITIES_WITH_TEXT = frozenset({"US", "SC", "OT", "ES", "XC", "GM", "IVUS", "ECG", "OP", "RF", "XA"})
CROSS_SECTIONAL = frozenset({"CT", "MR", "PT", "NM"})
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

BODY_PARTS = _set(
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS CALF "
    "CAROTID CEREBELLUM CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE "
    "CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT GALLBLADDER HAND HEAD HEADNECK "
    "HEART HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUNG MAXILLA "
    "MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY PANCREAS PAROTID PATELLA "
    "PELVIS PENIS PHARYNX PROSTATE RADIUS RADIUSULNA RECTUM RIB SACRUM SCALP SCAPULA SCLERA SCROTUM SELLA SHOULDER "
    "SIJOINT SINUS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH THUMB THYMUS THYROID TIBIA TIBIAFIBULA "
    "TLSPINE TMJ TOE TONGUE TRACHEA TSPINE ULNA URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA"
)
HEAD_PARTS = ("HEAD", "BRAIN", "FACE", "FACIAL", "SKULL", "SINUS", "ORBIT", "JAW", "MAXILLA", "IAC", "SELLA", "CEREB")
DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription")

POSITIONS = _set("HFS HFP HFDR HFDL FFS FFP FFDR FFDL LFP LFS RFP RFS AFDR AFDL PFDR PFDL")
VIEWS = _set("AP PA LL RL RLD LLD RLO LLO CC MLO ML LM LMO MLL XCCL XCCM FB SIO ISO LAT LATERAL CV RCC LCC")
SIDES = _set("L R B U")
SCANNING_SEQUENCES = _set("SE IR GR EP RM")
SEQUENCE_VARIANTS = _set("SK MTC SS TRSS SP MP OSP NONE")
ACQUISITIONS = frozenset({"1D", "2D", "3D"})
PHOTOMETRIC = frozenset(
    {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
)
IMAGE_TYPES = _set(
    "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR M P R I FFE SE ND NORM DIS2D DIS3D MOSAIC ADC TRACEW FA "
    "PROJECTION IMAGE MINIP MIP AVERAGE VOLUME REFORMATTED WATER FAT IN_PHASE OUT_PHASE STATIC DYNAMIC GATED WHOLE "
    "BODY CT_SOM5 HELICAL OTHER MIXED NONE DIFFUSION PERFUSION"
)
KERNELS = _set("STANDARD SOFT LUNG BONE BONEPLUS DETAIL EDGE CHEST SMOOTH SHARP ULTRA A B C D E F L YA YB")
KERNEL_PATTERN = r"[ABDHIJTUQS][a-z]?\d{2}[a-z]?|FC\d{2}|[1-5]"

_MAKERS = {
    "siemens": "SIEMENS",
    "ge medical": "GE",
    "ge healthcare": "GE",
    "gems": "GE",
    "general electric": "GE",
    "philips": "PHILIPS",
    "picker": "PHILIPS",
    "adac": "ADAC",
    "canon": "CANON",
    "toshiba": "TOSHIBA",
    "hitachi": "HITACHI",
    "fujifilm": "FUJIFILM",
    "fuji photo": "FUJIFILM",
    "hologic": "HOLOGIC",
    "lorad": "LORAD",
    "agfa": "AGFA",
    "kodak": "KODAK",
    "carestream": "CARESTREAM",
    "konica": "KONICA MINOLTA",
    "shimadzu": "SHIMADZU",
    "samsung": "SAMSUNG",
    "medison": "SAMSUNG",
    "mindray": "MINDRAY",
    "united imaging": "UNITED IMAGING",
    "uih": "UNITED IMAGING",
    "neusoft": "NEUSOFT",
    "hyperfine": "HYPERFINE",
    "esaote": "ESAOTE",
    "planmed": "PLANMED",
    "varian": "VARIAN",
    "elekta": "ELEKTA",
    "accuray": "ACCURAY",
    "bruker": "BRUKER",
    "zeiss": "ZEISS",
    "topcon": "TOPCON",
    "heidelberg eng": "HEIDELBERG",
    "acuson": "SIEMENS",
    r"atl\b": "PHILIPS",
    "leica": "LEICA",
    "hamamatsu": "HAMAMATSU",
    "imaging sciences": "IMAGING SCIENCES",
}
_FAMILIES = _set(
    "somatom sensation emotion definition force go.up go.now go.all go.top naeotom magnetom avanto symphony "
    "sonata trio triotim tim verio skyra prisma prisma_fit aera espree vida sola lumina biograph mammomat ysio acuson "
    "sequoia axiom artis lightspeed brightspeed discovery optima revolution signa genesis_signa hispeed genesis "
    "senographe vivid voluson logiq innova ingenia ingenuity achieva intera gyroscan panorama brilliance iqon mx8000 "
    "allura azurion epiq affiniti ie33 iu22 aquilion vantage titan aplio asteion scenaria echelon oasis selenia "
    "dimensions lorad fcr drx umr uct umi skyscan pharmascan biospec"
)
_TYPES = _set(
    "vct hdxt hdx hd ct mr mct mmr flash edge pet as as+ plus pro fit one prime xt se rt lb 1.5t 3t evo apex elite ds "
    "ultra open dual drive x 4 6 8 10 16 20 24 32 40 48 64 80 96 128 160 256 320 690 710 450 450w 750 750w 780 mr450 "
    "mr450w mr750 mr750w"
)
_FAMILY, _TYPE = ("|".join(re.escape(w) for w in sorted(known, key=len, reverse=True)) for known in (_FAMILIES, _TYPES))
_MODEL = re.compile(
    rf"(?<![a-z0-9])(?:{_FAMILY})(?:[ _-](?:{_FAMILY})){{0,2}}(?:[ _-]?(?:{_TYPE})){{0,3}}(?![a-z0-9])", re.IGNORECASE
)


def maker(text: str) -> str | None:
    """The manufacturer by one name, however the header spells it; none when it is not a known one."""
    lower = " ".join(text.lower().replace("_", " ").split())
    if lower == "ge":
        return "GE"
    return next((name for start, name in _MAKERS.items() if re.search(rf"\b{start}", lower)), None)


def model(text: str) -> str | None:
    """The family and type of the machine, such as 'Sensation 64'; what else is written beside it is left out."""
    found = _MODEL.search(text)
    return " ".join(found.group().split()) if found else None
