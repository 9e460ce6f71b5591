"""The two kinds of token that Label Studio knows."""

import pytest
import requests
from tests.label_studio.servers import Server

from hilum.adapters.label_studio.connection import Access, Connection


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic's, where the SDK reads what is in the token
def test_a_personal_access_token_is_as_good_as_a_legacy_one(label_studio: Server) -> None:
    answer = requests.post(
        f"{label_studio.url}/api/token/", headers={"Authorization": f"Token {label_studio.token}"}, timeout=60
    )
    assert answer.status_code == 201, answer.text
    spoken = Connection(Access(label_studio.url, answer.json()["token"]))
    assert spoken.ask(lambda sdk: sdk.projects.list()).items is not None
