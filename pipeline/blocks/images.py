"""One row per picture of a customer: what is known of the file, never a way to it. Key: customer_id, ordinal.

The API gives signed URLs with each picture; whoever has one has the picture. They are never exported.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Privacy, Table, boolean, integer, local_time, ordinal, text

_SIGNED = "signed URL: opens the picture to whoever has it"

CUSTOMER_IMAGES = Table(
    name="customer_images",
    meaning="One row per picture of the customer: the file's description.",
    rows=("customerImage[]",),
    key=("customer_id", "ordinal"),
    columns=(
        ordinal(),
        integer("code", "code", "Code of the picture's own status; 200: found."),
        boolean("status", "status", "Whether the picture was found."),
        text("message", "message", "The picture's own status in words.", Privacy.FREE_TEXT),
        text("file_handle", "file.fileHandle", "The file's handle.", Privacy.IDENTIFIER),
        text("file_namespace", "file.namespace", "The file's name space."),
        text(
            "file_name", "file.name", "The file's name: organisation, customer, number.", Privacy.IDENTIFIER
        ),
        integer("file_size", "file.fileSize", "The file's size.", "bytes"),
        integer("file_version", "file.version", "The file's version."),
        integer("file_latest_version", "file.latestVersion", "The newest version of the file."),
        local_time("file_last_modified", "file.lastModified", "When the file was last changed."),
        text("file_acl", "file.acl", "Who may see it, such as PRIVATE."),
    ),
    ignore=(
        ("filePath", _SIGNED),
        ("secureFilePath", _SIGNED),
        ("file.s3Token", "storage key of the picture, part of its signed URL"),
    ),
)

BLOCK = Block(tables=(CUSTOMER_IMAGES,), embed=("customerImage",))
