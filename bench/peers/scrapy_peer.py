"""Scrapy: a spider over the IDs, a pipeline that flattens and writes Parquet.

After Scrapy's documentation: "Spiders" (`async def start`), "Item pipeline", "Broad crawls" (concurrency, log level,
no cookies, no retries, no redirects, no AutoThrottle). Middlewares that have nothing to do here are off.

    scrapy_peer.py URL IDS_CSV FOLDER
"""

import csv
import sys
from pathlib import Path

import scrapy
from flatten import ParquetTables
from scrapy.crawler import CrawlerProcess

QUERY = "source=INSTORE&embed=points,mlp,segments"
SETTINGS = {
    "CONCURRENT_REQUESTS": 64,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 64,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": False,
    "COOKIES_ENABLED": False,
    "RETRY_ENABLED": False,
    "REDIRECT_ENABLED": False,
    "AUTOTHROTTLE_ENABLED": False,
    "COMPRESSION_ENABLED": False,
    "HTTPPROXY_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,
    "LOG_LEVEL": "ERROR",
    "ITEM_PIPELINES": {"__main__.Tables": 100},
    "DUPEFILTER_CLASS": "scrapy.dupefilters.BaseDupeFilter",
}


class Tables:
    """The pipeline: rows by table, in files of 50,000 rows."""

    def __init__(self) -> None:
        self.tables = ParquetTables(Path(sys.argv[3]), batch=50_000)

    def process_item(self, item: dict) -> dict:
        self.tables.add(item)
        return item

    def close_spider(self) -> None:
        self.tables.close()


class Customers(scrapy.Spider):
    """One request for each ID."""

    name = "customers"

    async def start(self):
        with Path(sys.argv[2]).open() as file:
            for row in csv.DictReader(file):
                yield scrapy.Request(f"{sys.argv[1]}/v2/customers/{row['customer_id']}?{QUERY}")

    def parse(self, response):
        yield response.json()


if __name__ == "__main__":
    process = CrawlerProcess(SETTINGS)
    process.crawl(Customers)
    process.start()
