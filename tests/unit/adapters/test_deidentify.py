"""What is kept of a DICOM header is on the list and of the machine; everything else, whoever wrote it, is not read."""

import io
import string
import warnings

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hilum.adapters.deidentify import KEPT, flags_of, kept_tags, values_of

CANARY = "CANARY^JANE"
TEXT_VRS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
TEXT_KEYWORDS = sorted(
    entry[4]
    for tag, entry in DicomDictionary.items()
    if entry[0] in TEXT_VRS and entry[4] and 0x0008 <= tag >> 16 < 0x7FE0 and not entry[3]
)
TRANSFER_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


def _header(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _through_a_file(dataset, syntax=ExplicitVRLittleEndian):
    """As it comes from a disk: bytes that pydicom has not yet looked into."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the canaries are no valid dates, ages or UIDs, and pydicom says so
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(file.getvalue()))


def _filled_with(text, keywords=TEXT_KEYWORDS):
    dataset = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pydicom.config.disable_value_validation():
            for keyword in keywords:
                vr = pydicom.datadict.dictionary_VR(keyword)
                dataset.add(pydicom.DataElement(keyword, "UT" if vr in ("DS", "IS") else vr, text))
    return dataset


# Every attribute of the standard, every private one -------------------------------------------------------------------


def test_a_name_in_every_text_attribute_of_the_standard_reaches_no_tag():
    assert len(TEXT_KEYWORDS) > 2000
    assert kept_tags(_filled_with(CANARY)) == {}


@pytest.mark.parametrize("name", ["DOE", "MAGNETOM^JANE", "DOE TRIO", "1234567890", "R2D2", "CT^SCAN^JANE"])
def test_a_name_that_looks_like_a_value_is_not_kept_as_it_is(name):
    assert name not in kept_tags(_filled_with(name)).values()


def test_private_attributes_are_not_read():
    dataset = _header(Modality="CT")
    block = dataset.private_block(0x0019, "HOSPITAL " + CANARY, create=True)
    block.add_new(0x01, "LO", CANARY)
    block.add_new(0x02, "DS", "12.5")
    assert kept_tags(_through_a_file(dataset)) == {"Modality": "CT"}


def test_what_is_inside_sequences_of_people_is_not_read():
    dataset = _header(Modality="MR")
    dataset.RequestAttributesSequence = Sequence([_header(Modality="CT", KVP="120")])
    dataset.ReferencedPatientSequence = Sequence([_header(StudyDate="20200101")])
    assert kept_tags(dataset) == {"Modality": "MR"}


@given(st.text(alphabet=string.printable, max_size=30))
def test_what_is_kept_is_never_free_text(text):
    known = " ".join(text.upper().replace("\\", " ").split())
    for keyword, value in kept_tags(_filled_with(text, [k for k in KEPT if k in TEXT_KEYWORDS])).items():
        if KEPT[keyword].rule == "word":
            assert set(value.split("\\")) <= KEPT[keyword].words
        elif KEPT[keyword].rule == "number":
            assert KEPT[keyword].low <= float(value) <= KEPT[keyword].high
        elif KEPT[keyword].rule == "date":
            assert len(value) == 8
            assert value.isdigit()
        assert len(value) <= max(200, len(known))


def test_nothing_of_the_patient_the_people_or_the_place_is_on_the_list():
    of_persons = (
        "Patient",
        "Physician",
        "Operator",
        "Institution",
        "Station",
        "Description",
        "Comment",
        "Serial",
        "Time",
    )
    allowed = {"PatientPosition", "ExposureTime", "RepetitionTime", "EchoTime", "InversionTime"}
    assert [k for k in KEPT if any(word in k for word in of_persons) and k not in allowed] == []
    assert not {"AccessionNumber", "StudyID", "PatientID", "SOPInstanceUID", "DeviceUID", "ProtocolName"} & set(KEPT)


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("StudyDate", "C"),
        ("SeriesDate", "C"),
        ("AcquisitionDate", "C"),
        ("StudyInstanceUID", "U"),
        ("SeriesInstanceUID", "U"),
        ("FrameOfReferenceUID", "U"),
        ("Modality", "K"),
        ("Manufacturer", "K"),
        ("KVP", "K"),
        ("SliceThickness", "K"),
    ],
)
def test_what_is_kept_has_the_action_of_the_basic_profile_with_modified_dates(keyword, action):
    assert KEPT[keyword].action == action


def test_every_date_is_shifted_and_every_uid_renamed_of_what_is_kept():
    for keyword, kept in KEPT.items():
        assert (kept.action == "C") == (kept.rule == "date") == keyword.endswith("Date")
        assert (kept.action == "U") == (kept.rule == "uid") == keyword.endswith("UID")


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_a_header_says_the_same_however_it_is_written(syntax):
    dataset = _header(
        Modality="MR",
        Manufacturer="SIEMENS",
        ManufacturerModelName="Skyra",
        MagneticFieldStrength="3",
        RepetitionTime="2300.0",
        DiffusionBValue=1000.0,
        BitsStored=12,
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
        StudyDate="20200229",
        StudyInstanceUID="1.2.840.1",
    )
    expected = {
        "Modality": "MR",
        "Manufacturer": "SIEMENS",
        "ManufacturerModelName": "Skyra",
        "MagneticFieldStrength": "3",
        "RepetitionTime": "2300",
        "DiffusionBValue": "1000",
        "BitsStored": "12",
        "ImageType": "ORIGINAL\\PRIMARY\\M\\ND",
        "StudyDate": "20200229",
        "StudyInstanceUID": "1.2.840.1",
    }
    assert kept_tags(dataset) == expected
    assert kept_tags(_through_a_file(dataset, syntax)) == expected


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "examples_ybr_color.dcm"])
def test_it_does_not_matter_whether_the_values_were_looked_at_before(name):
    path = get_testdata_file(name, download=False)
    fresh, seen = pydicom.dcmread(path), pydicom.dcmread(path)
    for element in seen:
        assert element.tag is not None
    assert kept_tags(fresh) == kept_tags(seen)
    assert kept_tags(fresh)["Modality"] in {"CT", "MR", "US"}
    assert flags_of(fresh) == flags_of(seen)


def test_of_a_multi_frame_image_also_what_all_frames_share_is_kept():
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([_header(SliceThickness="2.5")])
    first = Dataset()
    first.MREchoSequence = Sequence([_header(EchoTime="85")])
    first.FrameContentSequence = Sequence([_header(FrameComments=CANARY)])
    dataset = _header(Modality="MR", SharedFunctionalGroupsSequence=Sequence([shared]))
    dataset.PerFrameFunctionalGroupsSequence = Sequence([first])
    assert kept_tags(_through_a_file(dataset)) == {"Modality": "MR", "SliceThickness": "2.5", "EchoTime": "85"}


@pytest.mark.parametrize("date", ["20201301", "2020-01-01", "00000000", "19700101JANE", "1970", ""])
def test_what_is_no_date_is_not_kept_as_one(date):
    assert kept_tags(_filled_with(date, ["StudyDate"])) == {}


@pytest.mark.parametrize("uid", ["1.2.JANE", "1.2.840.", "1." * 40 + "1", "3.2.1.0", "jane"])
def test_what_is_no_uid_is_not_kept_as_one(uid):
    assert kept_tags(_filled_with(uid, ["StudyInstanceUID"])) == {}


@pytest.mark.parametrize("value", ["4711470815", "nan", "inf", "1e99", "-1", "12 Jane", "0x10", ""])
def test_a_number_outside_what_the_machine_can_do_is_not_kept(value):
    assert kept_tags(_filled_with(value, ["KVP"])) == {}


def test_damaged_bytes_are_not_kept_and_nothing_is_said_of_them():
    header = _through_a_file(_filled_with("\xff\xfe" + CANARY, ["Modality", "KVP", "StudyDate", "Manufacturer"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept_tags(header) == {}
        assert values_of(header, "NoSuchKeyword") == []


# Warnings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        _header(Modality="CT", BurnedInAnnotation="YES"),
        _header(Modality="US"),
        _header(Modality="SC", BurnedInAnnotation=""),
        _header(Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        _header(Modality="CR", SOPClassUID="1.2.840.10008.5.1.4.1.1.7.2"),
        _header(Modality="CT", ConversionType="WSD"),
        _header(Modality="CT", ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]),
    ],
)
def test_an_image_that_may_have_writing_in_it_is_flagged(header):
    assert "burned_in_text" in flags_of(header)
    assert "burned_in_text" in flags_of(_through_a_file(header))


@pytest.mark.parametrize("modality", ["US", "CT", "SC"])
def test_a_header_that_says_there_is_no_writing_is_believed(modality):
    assert flags_of(_header(Modality=modality, BurnedInAnnotation="NO")) == ()


@pytest.mark.parametrize(
    "header",
    [
        _header(Modality="CT", BodyPartExamined="HEAD"),
        _header(Modality="MR", BodyPartExamined="BRAIN"),
        _header(Modality="MR", BodyPartExamined="HEADNECK"),
        _header(Modality="MR", StudyDescription="MRI brain with contrast"),
        _header(Modality="CT", SeriesDescription="Sinuses 1.0"),
        _header(Modality="PT", ProtocolName="FDG Head"),
        _header(Modality="OT", RecognizableVisualFeatures="YES"),
    ],
)
def test_a_scan_of_a_head_is_flagged(header):
    assert "face" in flags_of(header)


@pytest.mark.parametrize(
    "header",
    [
        _header(Modality="CT", BodyPartExamined="CHEST", StudyDescription="head to toe"),
        _header(Modality="CR", BodyPartExamined="SKULL"),
        _header(Modality="MR", StudyDescription="Overhead knee"),
        _header(Modality="CT"),
        Dataset(),
    ],
)
def test_other_scans_are_not(header):
    assert "face" not in flags_of(header)
