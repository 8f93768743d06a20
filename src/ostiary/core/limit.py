"""Every bound of the product, with its unit in its name. A bound is a promise: each is enforced and tested.

Operators may lower or raise some of them per model or team where the configuration says so; the others are the
same everywhere, so that memory stays bounded whatever a peer sends.
"""

from typing import Final

# --- what a client may send over HTTP ---------------------------------------------------------------------
REQUEST_LINE_BYTES_MAX: Final = 8 * 1024
HEADER_COUNT_MAX: Final = 100
HEADER_BYTES_MAX: Final = 32 * 1024
KNOWN_HEAD_BYTES_MAX: Final = 4 * 1024
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
BODY_CHUNKS_MAX: Final = 65_536
BODIES_BYTES_MAX: Final = 512 * 1024 * 1024
REFUSED_BODY_BYTES_MAX: Final = 64 * 1024
CREDENTIAL_BYTES_MAX: Final = 4 * 1024
PIPELINED_REQUESTS_MAX: Final = 4
CONNECTIONS_MAX: Final = 20_000
HEADER_SECONDS_MAX: Final = 15.0
BODY_SECONDS_MAX: Final = 60.0
BODY_IDLE_SECONDS_MAX: Final = 10.0
KEEPALIVE_IDLE_SECONDS_MAX: Final = 75.0
WRITE_STALL_SECONDS_MAX: Final = 30.0
LINGER_SECONDS_MAX: Final = 2.0
WRITE_BUFFER_BYTES_MAX: Final = 64 * 1024
GATHERED_BYTES_MAX: Final = 64 * 1024
UNSENT_BYTES_MAX: Final = 128 * 1024
DRAIN_SECONDS_MAX: Final = 30.0
STREAM_KEEPALIVE_SECONDS: Final = 15.0
COMMIT_AFTER_SECONDS: Final = 10.0
ATTEMPTS_MAX: Final = 4
FALLBACKS_MAX: Final = 4

# --- targets ----------------------------------------------------------------------------------------------
EJECT_AFTER_FAILURES: Final = 5
EJECT_SECONDS: Final = 5.0
EJECT_SECONDS_MAX: Final = 300.0
EJECTED_SHARE_MAX: Final = 0.5
QUOTA_REST_SECONDS: Final = 5.0
QUOTA_REST_SECONDS_MAX: Final = 60.0
CREDENTIAL_REST_SECONDS: Final = 30.0
CREDENTIALS_KEYS_MAX: Final = 32
RETRIES_SHARE: Final = 0.2
RETRIES_RESERVED: Final = 10.0
BACKOFF_SECONDS: Final = 0.25
BACKOFF_SECONDS_MAX: Final = 8.0
HEDGES_REQUESTS_SAVED: Final = 10.0
MODELS_HEDGED_ENTRIES_MAX: Final = 1_024
TARGETS_SEEN_MAX: Final = 4_096
TARGETS_SKIPPED_MAX: Final = 16
CONDITION_CHARS_MAX: Final = 512
SHADOW_REQUESTS_MAX: Final = 32
SHADOW_BODY_BYTES_MAX: Final = 1024 * 1024

# --- overload ---------------------------------------------------------------------------------------------
CALLS_REQUESTS_MAX: Final = 8_000
WAITING_REQUESTS_MAX: Final = 1_000
WAIT_SECONDS: Final = 5.0
LAG_SECONDS: Final = 0.25
MEMORY_SHARE_MAX: Final = 0.85
MEMORY_RESET_SHARE_MAX: Final = 0.92
RESET_BYTES_MIN: Final = 64 * 1024
BODY_COPIES_COUNT: Final = 4
BODIES_BYTES_MIN: Final = 1024 * 1024
LARGE_BODY_BYTES_MIN: Final = 64 * 1024
LAG_LOOK_SECONDS: Final = 0.1
LAG_LOOKS_COUNT: Final = 3
YIELD_AFTER_CALLS_COUNT: Final = 8
TEAM_WEIGHT_COUNT_MAX: Final = 1_000

# Calls with an idempotency key.
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
REPLAY_SECONDS: Final = 24 * 3_600.0
REPLAY_BYTES_MAX: Final = 4 * 1024 * 1024
REPLAYS_BYTES_MAX: Final = 1024 * 1024 * 1024
REPLAY_POLL_SECONDS: Final = 0.05
DETACHED_BYTES_MAX: Final = 1024 * 1024

# Answers kept.
CACHE_MEMORY_BYTES: Final = 64 * 1024 * 1024
CACHE_ENTRY_BYTES_MAX: Final = 1024 * 1024
CACHE_SECONDS_MAX: Final = 30 * 24 * 3_600
CACHE_TAGS_MAX: Final = 16
CACHE_TAG_CHARS_MAX: Final = 64
PURGES_MAX: Final = 10_000
PROMPT_CACHE_BYTES_MIN: Final = 4_096
SEMANTIC_SIMILARITY_MIN: Final = 0.8
SEMANTIC_TEXT_CHARS_MAX: Final = 500
SEMANTIC_NEIGHBOURS_MAX: Final = 128
SEMANTIC_INDEX_BYTES_MAX: Final = 16 * 1024 * 1024
SEMANTIC_DIMENSIONS_MAX: Final = 4_096
SEMANTIC_EMBED_SECONDS_MAX: Final = 2.0
SEMANTIC_COMPARED_COUNT_MAX: Final = 8
SHARED_ANSWER_BYTES_MAX: Final = 256 * 1024
ANSWER_SECONDS_MAX: Final = 0.05
ANSWERS_UNDER_WAY_MAX: Final = 64
ANSWERS_WAITING_BYTES_MAX: Final = 8 * 1024 * 1024
FLIGHT_WAITERS_MAX: Final = 4_096
FLIGHT_WAIT_SECONDS_MAX: Final = 60.0

# Calls handed over to a person.
REVIEW_BODY_BYTES_MAX: Final = 1024 * 1024
REVIEWS_WAITING_COUNT_MAX: Final = 1_000
REVIEW_SECONDS: Final = 3 * 24 * 3_600
REVIEW_SECONDS_MAX: Final = 30 * 24 * 3_600
REVIEW_ANSWER_CHARS_MAX: Final = 100_000
REVIEW_POLL_SECONDS: Final = 5

# --- limits and budgets -----------------------------------------------------------------------------------
RATE_SCOPES_MAX: Final = 100_000
BUDGET_SCOPES_MAX: Final = 100_000
LEDGER_SECONDS: Final = 5.0
RATE_PER_MINUTE_MAX: Final = 1_000_000_000
CONCURRENT_REQUESTS_MAX: Final = 100_000

# --- counters that workers share ---------------------------------------------------------------------------
EXCHANGE_SECONDS_MAX: Final = 0.05
EXCHANGE_REQUESTS_MAX: Final = 1_000
BEAT_SECONDS: Final = 0.5
WORKER_SILENCE_SECONDS: Final = 5.0
SLOT_LEASE_SECONDS: Final = 30.0
SLOT_RENEW_SECONDS: Final = 10.0
RECONNECT_SECONDS: Final = 0.1
RECONNECT_SECONDS_MAX: Final = 1.0
LEASE_SHARE: Final = 0.01
REBUILD_SECONDS: Final = 2.0
REFRESH_SCOPES_MAX: Final = 50

# --- JSON -------------------------------------------------------------------------------------------------
JSON_DEPTH_MAX: Final = 64
JSON_NUMBER_BYTES_MAX: Final = 64
JSON_KEYS_MAX: Final = 100_000

# --- forms --------------------------------------------------------------------------------------------------
MULTIPART_BOUNDARY_CHARS_MAX: Final = 70
MULTIPART_PARTS_MAX: Final = 128
MULTIPART_HEADER_BYTES_MAX: Final = 4 * 1024
MULTIPART_NAME_BYTES_MAX: Final = 256

# --- WebSocket and realtime sessions ------------------------------------------------------------------------
WEBSOCKET_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
WEBSOCKET_FRAGMENTS_MAX: Final = 1_024
WEBSOCKET_QUEUE_MESSAGES_MAX: Final = 64
WEBSOCKET_QUEUE_BYTES_MAX: Final = 256 * 1024
WEBSOCKET_PING_SECONDS: Final = 20.0
WEBSOCKET_PONG_SECONDS_MAX: Final = 20.0
REALTIME_SESSION_SECONDS_MAX: Final = 3_600.0
REALTIME_IDLE_SECONDS_MAX: Final = 900.0
REALTIME_WATCH_SECONDS: Final = 0.25
REALTIME_RESPONSES_OPEN_MAX: Final = 16
REALTIME_PROTOCOLS_MAX: Final = 16

# --- a call -----------------------------------------------------------------------------------------------
MESSAGES_MAX: Final = 4_096
PARTS_MAX: Final = 4_096
TOOLS_MAX: Final = 512
TOOL_SCHEMA_BYTES_MAX: Final = 256 * 1024
TOOL_DEPTH_MAX: Final = 64
CHOICES_MAX: Final = 16
STOP_SEQUENCES_MAX: Final = 16
MAX_TOKENS_MAX: Final = 1_000_000
EMBEDDING_INPUTS_MAX: Final = 2_048
EMBEDDING_PARTS_MAX: Final = 128
"""Requests in which the texts of one call are put to a provider that takes fewer at once."""
COMPLETION_PROMPTS_MAX: Final = 256
MODERATION_INPUTS_MAX: Final = 1_024
IMAGES_MAX: Final = 16
IMAGE_PROMPT_CHARS_MAX: Final = 64_000
SPEECH_INPUT_CHARS_MAX: Final = 100_000
RERANK_DOCUMENTS_MAX: Final = 10_000
RERANK_DOCUMENT_BYTES_MAX: Final = 1024 * 1024
RERANK_QUERY_BYTES_MAX: Final = 64 * 1024
MODEL_NAME_BYTES_MAX: Final = 256
METADATA_BYTES_MAX: Final = 4 * 1024
METADATA_KEYS_MAX: Final = 16
METADATA_VALUE_BYTES_MAX: Final = 256
DROPPED_FIELDS_CHARS_MAX: Final = 2_000

# --- an answer that is judged -----------------------------------------------------------------------------
SCHEMA_ANSWER_BYTES_MAX: Final = 1024 * 1024
SCHEMA_STEPS_COUNT_MAX: Final = 200_000
SCHEMA_DEPTH_MAX: Final = 200
JUDGED_AT_ONCE_CHARS_MAX: Final = 16 * 1024
JUDGED_AT_ONCE_STEPS_COUNT_MAX: Final = 2_000
QUALITY_TEXT_CHARS_MAX: Final = 16 * 1024

# --- what an upstream may send ----------------------------------------------------------------------------
UPSTREAM_HEADER_BYTES_MAX: Final = 64 * 1024
UPSTREAM_HEADER_COUNT_MAX: Final = 128
UPSTREAM_INFORMATIONAL_MAX: Final = 8
UPSTREAM_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
PASSTHROUGH_TAP_BYTES_MAX: Final = 4 * 1024 * 1024
UPSTREAM_STREAM_BYTES_MAX: Final = 256 * 1024 * 1024
UPSTREAM_ERROR_BYTES_MAX: Final = 64 * 1024
UPSTREAM_ERROR_MESSAGE_CHARS_MAX: Final = 1_000
UPSTREAM_ERROR_CODE_CHARS_MAX: Final = 64
UPSTREAM_BUFFER_BYTES_MAX: Final = 128 * 1024
SSE_EVENT_BYTES_MAX: Final = 4 * 1024 * 1024
SSE_EMPTY_EVENTS_MAX: Final = 10_000
EVENTSTREAM_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
EVENTSTREAM_HEADERS_BYTES_MAX: Final = 128 * 1024
STREAM_KEPT_CHARS_MAX: Final = 16 * 1024 * 1024
RETRY_AFTER_SECONDS_MAX: Final = 300.0
USAGE_TOKENS_MAX: Final = 1_000_000_000

# --- the upstream client ----------------------------------------------------------------------------------
CONNECTIONS_PER_DESTINATION_MAX: Final = 1_024
IDLE_CONNECTIONS_PER_DESTINATION_MAX: Final = 256
IDLE_CONNECTION_SECONDS_MAX: Final = 30.0
DNS_TTL_SECONDS: Final = 30.0
DNS_STALE_SECONDS_MAX: Final = 600.0
DNS_SECONDS_MAX: Final = 5.0
DNS_FAILURE_SECONDS: Final = 1.0
DNS_ADDRESSES_MAX: Final = 16
TLS_CHECK_SECONDS: Final = 1.0
CONNECTION_WAITERS_MAX: Final = 1_024
CONNECTION_AGE_SECONDS_MAX: Final = 120.0
CONNECT_SECONDS: Final = 5.0
FIRST_BYTE_SECONDS: Final = 120.0
IDLE_SECONDS: Final = 60.0
TOTAL_SECONDS: Final = 600.0

# --- credentials that must be fetched ---------------------------------------------------------------------
CREDENTIAL_REFRESH_SECONDS: Final = 300.0
CREDENTIAL_MARGIN_SECONDS: Final = 15.0
CREDENTIAL_FETCH_SECONDS_MAX: Final = 15.0
CREDENTIAL_RETRY_SECONDS: Final = 1.0
CREDENTIAL_RETRY_SECONDS_MAX: Final = 60.0
CREDENTIAL_REQUESTS_MAX: Final = 8
CREDENTIAL_ANSWER_BYTES_MAX: Final = 64 * 1024
CREDENTIAL_LIFETIME_SECONDS_MAX: Final = 12 * 3_600.0

# --- the journal ------------------------------------------------------------------------------------------
JOURNAL_SEGMENT_BYTES: Final = 64 * 1024 * 1024
JOURNAL_RECORD_BYTES_MAX: Final = 256 * 1024
JOURNAL_SYNC_SECONDS: Final = 0.008
JOURNAL_STALL_SECONDS_MAX: Final = 5.0
JOURNAL_UNSYNCED_BYTES_MAX: Final = 32 * 1024 * 1024
JOURNAL_DRAIN_SECONDS: Final = 10.0
JOURNAL_CHANGES_SEGMENT_BYTES: Final = 1024 * 1024
"""The files of the ops process's own chain, which holds operators' changes alone."""
ORIGIN_SEEN_SECONDS: Final = 15.0
ORIGIN_SILENCE_SECONDS: Final = 60.0

# --- backups ----------------------------------------------------------------------------------------------
ARCHIVE_ENTRIES_MAX: Final = 1_000_000

# --- observation ------------------------------------------------------------------------------------------
METRIC_LABEL_VALUES_MAX: Final = 200
LOG_FIELD_CHARS_MAX: Final = 512
LOG_EXCEPTION_CHARS_MAX: Final = 16 * 1024
LOG_LINES_WAITING_MAX: Final = 2_000
REFUSAL_SOURCES_MAX: Final = 1_024

# --- control ----------------------------------------------------------------------------------------------
SNAPSHOT_POLL_SECONDS: Final = 0.25
SECRETS_POLL_SECONDS: Final = 1.0
CONFIG_POLL_SECONDS: Final = 0.5
ROWS_POLL_SECONDS: Final = 0.4
KEY_DELTA_ENTRIES_MAX: Final = 1_000
KEY_CHANGES_COUNT_MAX: Final = 10_000
KEY_OVERLAP_SECONDS_MAX: Final = 90 * 86_400
PROJECTOR_POLL_SECONDS: Final = 0.5
PROJECTOR_BATCH_RECORDS: Final = 4_000
SUPPLIED_KEY_CHARS_MIN: Final = 24

# --- a database on another machine ------------------------------------------------------------------------
STORE_CONNECTIONS_MAX: Final = 4
STORE_CONNECT_SECONDS: Final = 5.0
STORE_WAIT_SECONDS_MAX: Final = 10.0
STORE_STATEMENT_SECONDS: Final = 30.0
STORE_TRANSACTION_SECONDS_MAX: Final = 45.0
STORE_LOCK_SECONDS: Final = 5.0
STORE_RETRY_SECONDS: Final = 0.25
STORE_RETRY_SECONDS_MAX: Final = 4.0
STORE_LOG_BYTES_KEPT_MAX: Final = 8 * 1024 * 1024
STORE_MIGRATION_WAIT_SECONDS: Final = 60.0
USAGE_PARTITIONS_AHEAD_COUNT: Final = 3
USAGE_UPKEEP_SECONDS: Final = 3_600.0
EXCHANGES_MAX: Final = 10_000

MODELS_PAGE_COUNT_MAX: Final = 1_000
"""Models on one page of a list, as Anthropic bounds it."""

WEBHOOK_ANSWER_BYTES_MAX: Final = 65_536
"""What an application's webhook may say instead of a failure."""

CHANGES_CLAIM_SECONDS: Final = 60
"""For so long changes belong to the replica that takes them into its journal."""

CHANGES_BATCH_COUNT: Final = 500
"""Changes taken into the journal at once."""

ALERT_ATTEMPT_SECONDS_MAX: Final = 45
"""How long an attempt to tell an alert may take in all."""

ALERT_CLAIM_SECONDS: Final = 60
"""For so long an attempt to tell an alert belongs to who claimed it: longer than any attempt takes."""

ALERT_BEGIN_SECONDS_MAX: Final = 3 * 86_400
"""A channel is told of nothing older that it was not told of before."""

ALERT_KEPT_SECONDS: Final = 30 * 86_400
"""For so long an alert can be listed."""
