"""A Singer target: a BatchSink that flattens by hand and writes a Parquet file for each table and batch.

After the Meltano SDK's documentation: "Sinks" (BatchSink). PyPI's own target-parquet pins pandas 0.24 and cannot be
installed any more.

    singer_tap.py … | singer_target.py FOLDER
"""

import sys
from pathlib import Path

from flatten import ParquetTables
from singer_sdk import BatchSink, Target
from singer_sdk import typing as th


class ParquetSink(BatchSink):
    """Customers into 17 tables; the IDs themselves are not kept."""

    max_size = 5_000

    def process_batch(self, context: dict) -> None:
        if self.stream_name != "customers":
            return
        tables = ParquetTables(Path(self.config["folder"]) / context["batch_id"])
        for record in context["records"]:
            tables.add(record)
        tables.close()


class BenchTarget(Target):
    """One sink for all."""

    name = "target-bench"
    default_sink_class = ParquetSink
    config_jsonschema = th.PropertiesList(th.Property("folder", th.StringType, required=True)).to_dict()


if __name__ == "__main__":
    BenchTarget(config={"folder": sys.argv[1]}).listen(sys.stdin)
