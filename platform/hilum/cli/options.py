"""The options that many commands share, each written once."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout and nothing else.")]

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="HILUM_STORE",
        help="The store: a folder or a URL such as s3://bucket/prefix. The current folder if not given.",
    ),
]

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        envvar="RAY_ADDRESS",
        help="The Ray cluster to work on. A local Ray is started if not given.",
    ),
]

On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="PROFILE",
        help="How fast: local, gpu1, cluster or a YAML file. Never changes the answer.",
    ),
]

CampaignName = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's name.")]

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A YAML file, or a shipped recipe's name (see `hilum recipe list`).")
]

AskedName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A YAML file or a shipped recipe's name, or the name of a campaign: its last round is meant.",
    ),
]

Ingest = Annotated[
    str | None, typer.Option("--ingest", metavar="ID", help="Which images, if the store has several ingests.")
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", metavar="ID", help="The model so far; 'none' in the first round.")
]
Labels = Annotated[str, typer.Option("--labels", metavar="ID", help="The answers so far; 'none' in the first round.")]
ModelName = Annotated[str, typer.Option("--model", metavar="NAME", help="The model whose champion may change.")]
