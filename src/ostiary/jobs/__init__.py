"""Work that outlives the request or the process that made it: kept in the store, tried until it is done."""
