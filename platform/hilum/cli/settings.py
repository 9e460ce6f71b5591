"""Where things are, and secrets: the ``HILUM_*`` environment. Never what is computed, never how fast."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from hilum.core.errors import RequestError

PREFIX = "HILUM_"


class Settings(BaseSettings):
    """Every setting, each read from ``HILUM_`` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    store: str = Field(default=".", description="The store: a folder or any fsspec URL such as s3://bucket/prefix.")
    ledger_url: SecretStr | None = Field(
        default=None, description="The ledger's database, such as postgresql://…; a SQLite file in the store if unset."
    )
    identity_key: SecretStr | None = Field(
        default=None,
        description="The secret of the pseudonyms, 64 hexadecimal digits; `identity.key` in the store if unset.",
    )
    mapping_passphrase: SecretStr | None = Field(
        default=None,
        description="Opens the file of `hilum ingest --mapping` and `hilum whois`, 12 characters or more.",
    )
    data_mirror: Path | None = Field(
        default=None,
        description="A folder of prepared public data sets, used by `hilum data fetch` before the network.",
    )
    dicomweb_token: SecretStr | None = Field(
        default=None, description="The bearer token for a `dicomweb+https://…` source; sent to that host only."
    )
    dicomweb_user: str | None = Field(default=None, description="The user at a DICOMweb server without tokens.")
    dicomweb_password: SecretStr | None = Field(default=None, description="That user's password.")
    dicomweb_cache: Path | None = Field(
        default=None,
        description="The folder in which what a PACS sends lies until it is ingested, one that all workers see; "
        "the machine's temporary folder if unset.",
    )
    label_studio_url: str | None = Field(
        default=None, description="The Label Studio of annotator 'label_studio'; that of `hilum label up` if unset."
    )
    label_studio_token: SecretStr | None = Field(
        default=None,
        description="The token of the account there that hilum works as; or HILUM_LABEL_STUDIO_TOKEN_FILE.",
    )
    label_studio_token_file: Path | None = Field(default=None, description="A file that holds that token.")
    label_studio_home: Path | None = Field(
        default=None,
        description="Where `hilum label up` keeps all its things; `hilum/label-studio` under the user's data if unset.",
    )
    bridge_url: str | None = Field(
        default=None, description="The bridge as annotators' browsers reach it; that of `hilum label up` if unset."
    )
    bridge_url_inside: str | None = Field(
        default=None, description="The bridge as Label Studio itself reaches it, where that is another address."
    )
    track: str | None = Field(
        default=None,
        description="Where loss curves and pictures of a training also go as it runs: `tensorboard:FOLDER` or "
        "`mlflow:URI`, once either is installed.",
    )
    bridge_key: SecretStr | None = Field(
        default=None,
        description="Signs the addresses of images that `hilum bridge` serves, 16 characters or more; two, the new one "
        "first, while it is changed.",
    )
    bridge_key_file: Path | None = Field(default=None, description="A file that holds that key instead.")
    bridge_origins: str = Field(
        default="http://localhost:8080 http://127.0.0.1:8080",
        description="The origins of the Label Studio pages that may show images of the bridge.",
    )
    bridge_open: bool = Field(
        default=False, description="Show images to whoever asks, unsigned: on a loopback address only."
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="What Label Studio sends with every webhook, `Authorization: Bearer …`; none is accepted if unset.",
    )
    webhook_secret_file: Path | None = Field(default=None, description="A file that holds that secret instead.")
    pre_annotation_model: str | None = Field(
        default=None, description="The model whose champion drafts in Label Studio; set by `hilum bridge --model`."
    )
    pre_annotation_user: str = Field(default="hilum", description="The user as which Label Studio asks for drafts.")
    pre_annotation_password: SecretStr | None = Field(
        default=None, description="That user's password, 16 characters or more."
    )
    pre_annotation_password_file: Path | None = Field(default=None, description="A file that holds it instead.")
    api_keys_file: Path | None = Field(
        default=None, description="The file of hashed API keys that `hilum serve key` writes; who has one may ask."
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="The OpenID Connect issuer whose tokens open inference too, as their 'iss' says it: https://….",
    )
    oidc_audience: str | None = Field(
        default=None, description="What the 'aud' of a token says that is meant for this service."
    )
    oidc_jwks_url: str | None = Field(
        default=None, description="Where that issuer's keys are; where its discovery document says if unset."
    )
    oidc_scope_claim: str = Field(
        default="scope", description="The claim that holds a token's rights, as `hilum:predict hilum:read`."
    )
    oidc_models_claim: str | None = Field(
        default=None, description="The claim that names a token's models, `*` for any part; every model if unset."
    )
    oidc_reads_claim: str | None = Field(
        default=None, description="The claim that names the ingests whose volumes a token may name; none if unset."
    )
    oidc_per_minute: int = Field(
        default=0, ge=0, description="At most so many requests a minute of one token's owner; 0 bounds nothing."
    )
    inference_open: bool = Field(
        default=False, description="Answer whoever asks, without a key: on a loopback address only."
    )
    metrics_open: bool = Field(
        default=False,
        description="Tell what is counted to whoever asks `hilum metrics` or the bridge, without a key and also beyond "
        "this machine: where a network policy keeps others out.",
    )
    actor: str | None = Field(
        default=None,
        description="Who acts, as the audit log names them: a person, or a cluster's service account; the user this "
        "process runs as if unset.",
    )
    log: str = Field(
        default="text",
        description="`json`: on stderr one JSON object a line, with campaign, round, step, run and trace.",
    )
    traces: str | None = Field(
        default=None,
        description="Where spans are sent: an OTLP collector over HTTP such as `http://127.0.0.1:4318`; "
        "OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT does as well. None are sent if unset.",
    )
    state: Path = Field(
        default=Path("~/.local/state/hilum"), description="The folder where tracebacks of our own faults are written."
    )
    debug: bool = Field(default=False, description="Show tracebacks in the terminal as well.")

    @property
    def errors_folder(self) -> Path:
        return self.state.expanduser() / "errors"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()


def read_settings() -> Settings:
    """The settings as the environment has them now; RequestError if one cannot be meant."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise RequestError(f"The environment variable {name} cannot be used: {first['msg']}.") from None
