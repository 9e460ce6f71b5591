"""Makers and machines are known by one name; what a site adds to it does not come along."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.dicom_words import BODY_PARTS, MODALITIES, maker, model


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("SIEMENS", "SIEMENS"),
        ("Siemens Healthineers", "SIEMENS"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE", "GE"),
        ("GEMS", "GE"),
        ("Philips Medical Systems", "PHILIPS"),
        ("TOSHIBA_MEC", "TOSHIBA"),
        ("ATL", "PHILIPS"),
        ("Atlas Jane", None),
        ("DOE^JANE", None),
        ("", None),
    ],
)
def test_a_maker_has_one_name(written, known):
    assert maker(written) == known


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("Sensation 64", "Sensation 64"),
        ("SOMATOM Definition AS+", "SOMATOM Definition AS+"),
        ("Biograph64_mCT", "Biograph64_mCT"),
        ("TrioTim", "TrioTim"),
        ("LightSpeed VCT", "LightSpeed VCT"),
        ("DISCOVERY MR750w", "DISCOVERY MR750w"),
        ("Signa HDxt", "Signa HDxt"),
        ("GENESIS_SIGNA", "GENESIS_SIGNA"),
        ("Janes Magnetom Skyra Ward 7", "Magnetom Skyra"),
        ("DOE^JANE Trio", "Trio"),
        ("Trio 4711470815", "Trio"),
        ("Maestrio", None),
        ("Ward 7", None),
    ],
)
def test_a_machine_keeps_its_family_and_type_and_loses_what_a_site_wrote(written, known):
    assert model(written) == known


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_beside_the_machines_name_survives(before, after):
    found = model(f"{before} Skyra {after}")
    if found is not None and "skyra" in found.lower():
        assert len(found) <= len("Skyra ") + 60
        assert not any(ch in found for ch in "^@,;\n")


@given(st.text(max_size=60))
def test_a_maker_is_one_of_a_few(text):
    assert maker(text) is None or maker(text).replace(" ", "").isalpha()


def test_the_lists_hold_single_words_in_capitals():
    for word in MODALITIES | BODY_PARTS:
        assert word.isalnum()
        assert word == word.upper()
