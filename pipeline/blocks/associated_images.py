"""One row per image that belongs to a customer, such as a barcode. Key: customer_id, ordinal.

Nothing public shows this block's fields: the whole element is kept in `raw` (without signed URLs), and keys
without a column are counted.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Table, json_text, ordinal

ASSOCIATED_IMAGES = Table(
    name="associated_images",
    meaning="One row per image associated with the customer.",
    rows=("associatedImages[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        json_text("raw", "@row", "The whole element, as it came; signed URLs and tokens are removed."),
    ),
    ignore=(
        ("filePath", "signed URL: opens the image to whoever has it; removed from `raw`"),
        ("secureFilePath", "signed URL: opens the image to whoever has it; removed from `raw`"),
        ("s3Token", "storage key of the image, part of its signed URL; removed from `raw`"),
    ),
)

BLOCK = Block(tables=(ASSOCIATED_IMAGES,), embed=("associatedImages",))
