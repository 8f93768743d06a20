"""What operators decide, one folder per noun, each in the same words: `model`, `service`, `ports`, `errors`.

Every service method takes the actor first and checks its one permission itself; nothing here knows HTTP, SQL or the
command line. A change and the record of who made it are stored together or not at all (`change`). What the
configuration file defines (`overlay`) is read-only here. Stores are synchronous: a server calls services off its loop.
"""
