"""A path for every route of the table."""


def example(route, name=b"chat"):
    """A path that belongs to the route, with `name` where it has an argument."""
    if not route.path.endswith(b"/"):
        return route.path + route.suffix
    below = b""
    if route.published:
        place = b"some-project/locations/europe-west1/publishers/" if route.path.endswith(b"/projects/") else b""
        below = place + b"google/models/"
    return route.path + below + name + route.suffix
