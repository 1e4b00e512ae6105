"""One HTML page about finished runs: `blocks` are its content, `page` renders them."""
