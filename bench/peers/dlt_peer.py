"""dlt: a resource of IDs, an async transformer that asks for pages of them, Parquet files in a folder.

After dlt's documentation: "Create new source" (transformers), "Optimizing dlt" (async resources yielding pages, larger
writer buffers, normalize workers, uncompressed intermediate files), "Filesystem destination" (Parquet). dlt makes its
tables itself: children of children, with keys of its own.

    dlt_peer.py URL IDS_CSV FOLDER
"""

import asyncio
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__START_METHOD": "spawn",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "EXTRACT__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
    "DATA_WRITER__FILE_MAX_ITEMS": "100000",
    "EXTRACT__MAX_PARALLEL_ITEMS": "64",
    "EXTRACT__WORKERS": "8",
}
PAGE = 200
QUERY = "source=INSTORE&embed=points,mlp,segments"


def pages(ids_csv: str) -> Iterator[list[str]]:
    ids = [row["customer_id"] for row in csv.DictReader(Path(ids_csv).open())]
    yield from (ids[start : start + PAGE] for start in range(0, len(ids), PAGE))


def main(url: str, ids_csv: str, folder: str) -> None:
    import aiohttp
    import dlt
    import orjson

    sessions: list[aiohttp.ClientSession] = []

    @dlt.resource(name="ids")
    def ids() -> Iterator[list[str]]:
        yield from pages(ids_csv)

    async def ask(session: aiohttp.ClientSession, one: str) -> dict:
        async with session.get(f"{url}/v2/customers/{one}?{QUERY}") as response:
            response.raise_for_status()
            return orjson.loads(await response.read())

    @dlt.transformer(data_from=ids, name="customers", write_disposition="replace", primary_key="id")
    async def customers(page: list[str]) -> list[dict]:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)))
        return await asyncio.gather(*(ask(sessions[0], one) for one in page))

    with TemporaryDirectory() as state:
        pipeline = dlt.pipeline(
            "bench",
            pipelines_dir=state,
            dataset_name="export",
            destination=dlt.destinations.filesystem(bucket_url=Path(folder).resolve().as_uri()),
        )
        pipeline.run(ids | customers, loader_file_format="parquet").raise_on_failed_jobs()


if __name__ == "__main__":
    os.environ.update(SETTINGS)  # before dlt is imported, also in its own processes
    main(*sys.argv[1:4])
    os._exit(0)  # the session was opened in dlt's own loop, which is closed by now
