"""One page of HTML about finished runs: read blocks, what a page is made of, then page."""
