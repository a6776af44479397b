"""The catalog as a static site: every recipe with its targets, and a page on each that was published."""

from pipeline.fleet.site.catalog import Listed, Target, read_catalog
from pipeline.fleet.site.document import INDEX, address_of, index, write_site

__all__ = ["INDEX", "Listed", "Target", "address_of", "index", "read_catalog", "write_site"]
