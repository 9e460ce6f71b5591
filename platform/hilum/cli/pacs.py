"""What `hilum ingest` is given: files where they lie, or a search in a PACS whose finds lie in a folder meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from hilum.cli.settings import settings
from hilum.core.errors import RequestError

_SEARCH = "dicomweb+"


@contextmanager
def files_at(where: str) -> Iterator[str]:
    """The folder, file or pattern to read. What a ``dicomweb+https://…`` search found is gone afterwards."""
    if not where.startswith(_SEARCH):
        yield where
        return
    try:
        from hilum.adapters.dicomweb import fetched
    except ImportError:
        raise RequestError("Searching a PACS needs dicomweb-client: pip install 'hilum[dicomweb]'.") from None
    from hilum.adapters.dicomweb_session import Access

    given = settings()
    token, password = given.dicomweb_token, given.dicomweb_password
    access = Access(
        token=None if token is None else token.get_secret_value(),
        user=given.dicomweb_user,
        password=None if password is None else password.get_secret_value(),
    )
    cache = None if given.dicomweb_cache is None else str(given.dicomweb_cache.expanduser())
    with fetched(where, access, cache=cache) as folder:
        yield folder
