from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.label_studio.template import (
    CONTROLS,
    RESERVED,
    check_config,
    checked_classes,
    colour,
    labelling_config,
    parse_config,
)
from hilum.core.errors import DataError, RecipeError

CANARY = '<img src=x onerror="alert(1)">'
NAMES = ("background", "liver", 'tumour "A" & <B>', CANARY)

class_names = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" \"'<>&"), min_size=1, max_size=20)
    .map(str.strip)
    .filter(lambda name: name and name.isprintable() and name[0] != "$" and name.casefold() not in RESERVED),
    min_size=2,
    max_size=6,
    unique_by=str.casefold,
)


@pytest.mark.parametrize("kind", CONTROLS)
@given(names=class_names)
def test_a_configuration_offers_what_its_answers_are_read_with(kind, names):
    found = parse_config(labelling_config(kind, names))
    for control in CONTROLS[kind]:
        if control.is_offered:
            assert (found[control.name].tag, found[control.name].to_name) == (control.tag, "image")
            assert found[control.name].labels == control.labels(names)
    assert check_config(labelling_config(kind, names), kind, names) == frozenset()


@pytest.mark.parametrize("kind", CONTROLS)
def test_markup_in_a_name_stays_a_name(kind):
    xml = labelling_config(kind, NAMES)
    assert "<img" not in xml
    assert 'onerror="' not in xml
    assert {element.tag for element in ET.fromstring(xml).iter()} <= {
        "View", "Header", "Image", "Label", "Choice", "Choices", *(control.tag for control in CONTROLS[kind])
    }  # fmt: skip


def test_true_pixels_are_shown_below_the_labels():
    root = ET.fromstring(labelling_config("segment", NAMES))
    image = root[-1]
    assert image.tag == "Image"
    assert (image.get("valueList"), image.get("smoothing"), image.get("rotateControl")) == ("$pages", "false", "false")
    assert root.find("Choices").get("perItem") == "true"


def test_only_scribbles_and_points_mark_background():
    assert "background" not in parse_config(labelling_config("segment", NAMES))["brush"].labels
    assert "background" not in parse_config(labelling_config("boxes", NAMES))["box"].labels
    assert "background" in parse_config(labelling_config("scribble", NAMES))["brush"].labels
    assert "background" in parse_config(labelling_config("points", NAMES))["point"].labels


def test_a_class_keeps_its_colour_whatever_it_is_called_and_whoever_joins():
    before = ET.fromstring(labelling_config("segment", ("background", "liver", "tumour")))
    after = ET.fromstring(labelling_config("segment", ("background", "Leber", "tumour", "vessel")))
    colours = [[label.get("background") for label in root.find(".//BrushLabels")] for root in (before, after)]
    assert colours[0] == colours[1][:2]
    assert len(set(colours[1])) == 3
    assert colour("segment", 0) not in colours[1]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("liver",), "two classes or more"),
        (("background", " liver"), "without spaces"),
        (("background", ""), "printable"),
        (("background", "li\nver"), "printable"),
        (("background", "x" * 101), "1 to 100"),
        (("background", "$liver"), "Label Studio takes"),
        (("background", "Nothing here"), "hilum's own"),
        (("background", "UNUSABLE"), "hilum's own"),
        (("background", "liver", "Liver"), "Two classes"),
    ],
)
def test_names_that_cannot_be_offered_are_refused(names, reason):
    with pytest.raises(RecipeError, match=reason):
        checked_classes("segment", names)


def test_a_project_with_more_than_we_need_is_adopted_and_its_own_controls_are_named():
    xml = labelling_config("segment", NAMES).replace(
        "</View>", '<TextArea name="comment" toName="image"/><EllipseLabels name="ellipse" toName="image">'
        + "".join(f'<Label value="{n}"/>' for n in ("liver", "tumour &quot;A&quot; &amp; &lt;B&gt;", "x"))
        + '<Label value="odd" alias="&lt;img src=x onerror=&quot;alert(1)&quot;&gt;"/></EllipseLabels></View>'
    )  # fmt: skip
    assert check_config(xml, "segment", NAMES) == {"comment"}


def test_everything_that_is_missing_is_said_at_once():
    xml = labelling_config("segment", ("background", "liver"))
    xml = xml.replace('<PolygonLabels name="polygon"', '<PolygonLabels name="outline"')
    xml = xml.replace('name="rectangle" toName="image"', 'name="rectangle" toName="other"')
    with pytest.raises(DataError) as caught:
        check_config(xml, "segment", ("background", "liver", "tumour"))
    for missing in ("'brush' the labels 'tumour'", "PolygonLabels called 'polygon'", "'rectangle' for 'image'"):
        assert missing in str(caught.value)
    with pytest.raises(DataError, match="an Image called 'image'"):
        check_config("<View/>", "classify", ("a", "b"))


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<View>",
        "<View>\0</View>",
        '<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>',
        "<View>" + " " * (1 << 20) + "</View>",
    ],
)
def test_what_is_no_configuration_is_refused(xml):
    with pytest.raises(DataError, match="labelling configuration"):
        parse_config(xml)
