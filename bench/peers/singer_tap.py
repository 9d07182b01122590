"""A Singer tap: a parent stream of IDs from the CSV, a child stream that asks for each.

After the Meltano SDK's documentation: "Parent-child streams", "RESTStream", and "Partitions" with
`state_partitioning_keys = []`, without which the state, printed again and again, grows with every ID.

    singer_tap.py URL IDS_CSV
"""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path

from singer_sdk import RESTStream, Stream, Tap
from singer_sdk import typing as th

TEXT, ANY = th.StringType(nullable=True), th.CustomType({"type": ["object", "array", "null"]})
BLOCKS = ("profiles", "loyaltyInfo", "segments", "extendedFields", "cardDetails", "loyaltyProgramDetails",
          "groupLoyaltyProgramDetails", "pointsSummary", "fraudDetails", "warnings", "alternateCurrencyDetails",
          "associatedImages", "customerImage", "expiredPoints", "expirySchedules", "promotionalPoints",
          "returnedPoints", "subscriptionInfo", "userGroup")  # fmt: skip


class Ids(Stream):
    """The CSV."""

    name = "ids"
    schema = th.PropertiesList(th.Property("customer_id", th.StringType)).to_dict()

    def get_records(self, context: dict | None) -> Iterable[dict]:
        yield from csv.DictReader(Path(self.config["ids_csv"]).open())

    def get_child_context(self, record: dict, context: dict | None) -> dict:
        return {"customer_id": record["customer_id"]}


class Customers(RESTStream):
    """One answer for each ID."""

    name = "customers"
    parent_stream_type = Ids
    path = "/v2/customers/{customer_id}"
    primary_keys = ("id",)
    records_jsonpath = "$"
    state_partitioning_keys = []  # noqa: RUF012 - as the documentation has it
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType),
        th.Property("associatedWith", TEXT),
        *(th.Property(name, ANY) for name in BLOCKS),
    ).to_dict()

    @property
    def url_base(self) -> str:
        return self.config["url"]

    def get_url_params(self, context: dict | None, next_page_token: object) -> dict:
        return {"source": "INSTORE", "embed": "points,mlp,segments"}


class BenchTap(Tap):
    """Both streams."""

    name = "tap-bench"
    config_jsonschema = th.PropertiesList(
        th.Property("url", th.StringType, required=True), th.Property("ids_csv", th.StringType, required=True)
    ).to_dict()

    def discover_streams(self) -> list[Stream]:
        return [Ids(self), Customers(self)]


if __name__ == "__main__":
    BenchTap(config={"url": sys.argv[1], "ids_csv": sys.argv[2]}).sync_all()
