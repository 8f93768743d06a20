"""What Ostiary promises, with the tests that prove it and what they do not prove. docs/guarantees.md is written from it.

A promise that is not wholly kept yet says what is missing; `proof` then names what holds already. A test of this file
checks that each test named exists.
"""

from typing import NamedTuple

STORY = "tests/exchange/test_story.py"
LAW = "tests/dialect/test_law.py"
JOURNAL = "tests/unit/store/journal"
REALTIME = "tests/exchange/test_realtime.py"
HEDGE = "tests/exchange/test_hedge.py"
SHARED = "tests/process/test_shared_counters.py"


class Requirement(NamedTuple):
    """A promise: whether it holds, its evidence as `file::test`, the limit of the proof, what is missing."""

    promise: str
    proof: tuple[str, ...]
    limit: str
    missing: str = ""


REQUIREMENTS = {
    "record": Requirement(
        "No allowed call goes out without an opening record in the journal; there is exactly one closing record for each "
        "opening one, on every exit, cancellation and crash included.",
        (
            f"{STORY}::test_nothing_goes_upstream_before_the_opening_record",
            f"{STORY}::test_a_plain_call_is_answered_in_the_callers_dialect_and_recorded_in_two_records",
            f"{STORY}::test_a_stream_is_relayed_and_its_end_leaves_after_the_closing_record",
            f"{STORY}::test_a_call_cancelled_while_it_waits_for_the_provider_is_recorded",
            f"{STORY}::test_fd30_without_a_record_nothing_is_answered_as_done",
            "tests/exchange/test_handover.py::test_the_caller_gets_a_ticket_once_the_request_is_kept_and_the_call_is_on_record",
            "tests/exchange/test_handover.py::test_without_a_closing_record_no_ticket_is_given",
            "tests/process/test_review.py::test_a_decision_that_never_reached_the_journal_is_not_told_until_it_has",
            f"{STORY}::test_on_failure_continue_goes_on_and_leaves_a_gap_record_when_the_journal_is_back",
            f"{STORY}::test_on_failure_continue_never_holds_for_regulated_data",
            "tests/fault/test_every_point.py::test_the_nth_point_goes_wrong_for_every_n",
            f"{JOURNAL}/test_recovery.py::test_open_calls_are_closed_as_aborted",
            "tests/fault/test_journal_kill.py::test_everything_acknowledged_before_the_kill_is_readable",
            "tests/fault/test_journal_kill.py::test_killed_again_and_again_every_call_is_closed_once",
            "tests/process/test_store_faults.py::test_fd26_while_the_disk_of_the_rows_is_full_calls_go_on_are_kept_and_counted_later",
            "tests/process/test_store_faults.py::test_fd24_while_the_disk_of_postgresql_is_full_calls_go_on_are_kept_and_counted_later",
            "tests/fault/test_journal_disk.py::test_the_nth_disk_call_fails_for_every_n",
            "tests/fault/test_journal_disk.py::test_power_loss_keeps_every_synced_record",
            f"{REALTIME}::test_nothing_goes_upstream_before_the_opening_record",
            f"{REALTIME}::test_the_record_of_a_response_stands_before_the_client_hears_that_it_has_ended",
            f"{REALTIME}::test_a_session_that_is_cancelled_at_any_point_leaves_nothing_open",
        ),
        "Power loss and failing disks are simulated below the file calls; no machine was switched off. With "
        "`durability: process` the last milliseconds may go with the machine. With `on_failure: continue` unregulated "
        "calls go on without records, and a gap record says how many.",
    ),
    "order": Requirement(
        "No upstream is contacted before identity, policy, budget and guard have said yes; a fallback target is checked "
        "again.",
        (
            f"{STORY}::test_a_request_without_one_valid_key_reaches_nothing",
            f"{STORY}::test_a_denied_call_is_told_why_and_recorded_once",
            f"{STORY}::test_a_fallback_model_the_key_may_not_use_is_never_tried",
            f"{STORY}::test_an_unknown_price_is_costed_at_the_ceiling_or_refused_never_nothing",
            f"{REALTIME}::test_what_is_refused_before_the_upgrade_is_an_ordinary_answer_and_reaches_nobody",
            f"{REALTIME}::test_a_budget_that_is_used_up_refuses_further_responses_and_the_session_stays",
            f"{HEDGE}::test_not_where_the_budget_has_no_room_for_both",
        ),
        "Whole calls in one process with a simulated upstream.",
        "There are no guards yet; identity, policy and budgets hold.",
    ),
    "hold": Requirement(
        "A hold is settled or released exactly once. Spend never exceeds a hard budget by more than the estimate error of "
        "calls in flight, at any concurrency, on any number of replicas, through kill -9.",
        (
            f"{STORY}::test_a_plain_call_is_answered_in_the_callers_dialect_and_recorded_in_two_records",
            f"{STORY}::test_a_client_that_goes_away_cancels_its_upstream_call_and_is_charged_for_what_was_produced",
            "tests/fault/test_every_point.py::test_the_nth_point_goes_wrong_for_every_n",
            "tests/exchange/test_limits.py::test_at25_a_thousand_calls_at_once_spend_no_more_than_a_budget_for_ten",
            "tests/process/test_budgets.py::test_at25_what_was_spent_stays_spent_through_a_restart",
            "tests/contract/test_counters.py::test_holds_of_two_workers_are_those_of_the_model",
            "tests/exchange/test_shared_counters.py::test_every_exchange_may_fail_or_lose_its_answer_and_nothing_is_lost_or_doubled",
            f"{SHARED}::test_at25_a_thousand_calls_on_two_workers_and_a_death_among_them_spend_no_more_than_the_budget",
            f"{SHARED}::test_two_replicas_spend_one_budget_and_remember_each_other_for_a_server_that_forgets",
            f"{SHARED}::test_the_server_goes_and_comes_back_empty",
            "tests/attack/test_quota.py::test_at26_a_user_never_seen_before_has_the_budget_of_each_from_the_first_of_many_calls_at_once",
            f"{REALTIME}::test_a_response_the_provider_began_by_itself_is_held_or_cancelled",
            f"{HEDGE}::test_the_faster_one_answers_and_the_other_is_cancelled_charged_and_on_record",
        ),
        "Settling a hold twice raises; each story ends with no hold open. Two workers and two replicas on one machine, with a "
        "real Redis; what is not covered where that loses data is told in limits.md.",
    ),
    "stream": Requirement(
        "The folded stream equals the plain answer, tool arguments byte for byte; splitting the stream at every byte "
        "offset changes nothing.",
        (
            f"{LAW}::test_a_streamed_reply_folds_to_the_plain_one",
            f"{LAW}::test_the_law_holds_through_every_pair",
            f"{LAW}::test_tool_arguments_survive_every_pair_byte_for_byte",
            f"{LAW}::test_where_a_stream_is_cut_changes_nothing",
            f"{LAW}::test_every_single_offset_gives_the_same_frames",
            "tests/dialect/test_parallel.py::test_calls_told_in_turns_are_the_calls_of_the_plain_answer",
        ),
        "By generated replies and by a recorded corpus, for both dialects; providers that break their own protocol are "
        "refused, not repaired. Arguments that begin as an object and are no JSON in the end (a bound on output may cut "
        "them) are wrapped in Anthropic's plain form and stand as they came in its stream, whose beginning has left.",
    ),
    "bytes": Requirement(
        "Same dialect in and out: the value bytes of every member that nobody asked to change are unchanged, and so is "
        "every stream frame.",
        (
            f"{STORY}::test_the_same_dialect_passes_bytes_through_but_for_the_named_edits",
            "tests/dialect/test_request.py::test_the_same_dialect_passes_every_other_value_byte_for_byte",
            "tests/unit/gateway/wire/test_json.py::test_an_edit_leaves_every_other_values_bytes_alone",
            "tests/unit/gateway/wire/test_json.py::test_a_splice_changes_one_value_and_no_other_byte_of_a_value",
        ),
        "Blanks between top-level members may change. A frame that only reports usage is left out where the caller did "
        "not ask for it.",
    ),
    "retry": Requirement(
        "A retry starts from the client's original call; nothing is retried after the commit point (the first content, or "
        "`COMMIT_AFTER_SECONDS`, whichever is first), and nothing, comments included, is sent before it.",
        (
            f"{STORY}::test_every_attempt_starts_from_the_clients_original_call",
            f"{STORY}::test_fd10_a_stream_that_fails_before_its_first_content_is_retried_unseen",
            f"{STORY}::test_fd10_fd11_a_stream_that_fails_later_ends_in_an_error_event_and_is_not_retried",
            f"{STORY}::test_a_request_the_provider_calls_invalid_is_not_tried_elsewhere",
            "tests/unit/net/test_client.py::test_nothing_is_repeated_after_a_byte_of_the_answer",
            f"{HEDGE}::test_nothing_of_a_stream_is_lost_or_said_twice_whoever_wins",
        ),
        "The time bound is looked at when bytes arrive. A request on a kept connection that turns out to be closed before "
        "any byte of an answer is sent once more.",
    ),
    "cancel": Requirement(
        "A client that goes away cancels its upstream call, and is charged for what was produced.",
        (
            f"{STORY}::test_a_client_that_goes_away_cancels_its_upstream_call_and_is_charged_for_what_was_produced",
            "tests/attack/test_http_server.py::test_the_client_going_away_cancels_what_it_asked_for",
            "tests/unit/net/test_client.py::test_cancelling_while_reading_closes_the_connection",
            "tests/clients/test_openai_python_errors.py::test_a_client_that_leaves_a_stream_ends_the_providers_work",
        ),
        "What a provider goes on producing after its connection was dropped is its own affair. Tokens of a broken stream "
        "are estimated where it reported none.",
    ),
    "tenants": Requirement(
        "No cache, single-flight, index or counter is shared across tenants unless an operator pools it by name; foreign "
        "and missing objects look the same.",
        (
            "tests/exchange/test_handover.py::test_others_and_what_was_never_there_look_the_same",
            f"{STORY}::test_a_foreign_model_and_a_missing_one_look_the_same_in_the_list",
            "tests/unit/govern/test_services.py::test_other_tenants_look_as_if_they_did_not_exist",
            "tests/exchange/test_cache.py::test_at69_answers_are_shared_as_far_as_the_entry_says_and_never_across_tenants",
            "tests/exchange/test_cache.py::test_fd43_of_many_identical_calls_one_goes_out_per_tenant",
            "tests/attack/test_caches.py::test_at69_no_other_tenant_gets_the_answer",
            "tests/attack/test_caches.py::test_at70_the_partition_is_hard_whatever_the_similarity",
            "tests/attack/test_caches.py::test_at70_presence_cannot_be_probed_from_another_tenant",
            "tests/contract/test_answer_cache.py::test_a_key_that_differs_in_any_part_finds_nothing",
            "tests/contract/test_answer_cache.py::test_an_answer_that_was_changed_or_moved_is_nobodys",
        ),
        "Models and providers belong to the installation; which of them a team may use is its own list. A call with a "
        "model that exists but is not allowed is told so (`policy.model_not_allowed`).",
    ),
    "secrets": Requirement(
        "Secrets are a type that cannot be printed. No planted canary (secret or personal datum) reaches logs, traces, "
        "metrics, errors, audit or console.",
        (
            f"{STORY}::test_no_secret_of_ours_reaches_the_client",
            f"{STORY}::test_the_providers_credential_goes_upstream_and_the_callers_does_not",
            f"{STORY}::test_no_text_of_prompt_or_answer_stands_in_the_journal",
            "tests/exchange/test_handover.py::test_what_is_kept_is_sealed_and_readable_by_its_owner_alone",
            "tests/exchange/test_handover.py::test_a_sealed_text_opens_only_as_what_it_was_sealed_as",
            f"{STORY}::test_metadata_and_the_end_user_are_recorded_the_person_only_as_a_digest",
            f"{STORY}::test_a_fault_of_ours_is_answered_and_recorded_without_its_text",
            "tests/dialect/test_error.py::test_a_credential_echoed_by_a_provider_is_masked",
            "tests/unit/govern/test_services.py::test_a_minted_key_is_stored_only_as_its_digest",
            "tests/process/test_keys.py::test_at82_no_secret_stands_in_any_file_log_metric_or_process_list",
        ),
        "What a provider says about a request in an error message is passed on to the caller who sent that request. "
        "Names an operator or caller chooses (models, features, teams) are recorded as they are.",
        "There are no traces and no console yet.",
    ),
    "proof": Requirement(
        "Any edit, deletion, reordering, fork, or truncation below a checkpoint kept elsewhere is found offline by one "
        "command.",
        (
            f"{JOURNAL}/test_verify.py::test_every_flipped_byte_of_every_file_is_found_and_named",
            f"{JOURNAL}/test_verify.py::test_records_removed_repeated_swapped_or_moved_are_found",
            f"{JOURNAL}/test_verify.py::test_files_removed_or_exchanged_are_found",
            f"{JOURNAL}/test_verify.py::test_two_origins_exchanged_are_found",
            f"{JOURNAL}/test_verify.py::test_a_chain_cut_back_with_its_mark_is_found_only_by_a_checkpoint",
            f"{JOURNAL}/test_verify.py::test_a_chain_written_anew_is_found_only_by_a_checkpoint",
            f"{JOURNAL}/test_verify.py::test_an_origin_that_vanished_is_found_by_a_checkpoint",
            "tests/cli/test_governance.py::test_the_journal_is_verified_and_compared",
        ),
        "Records after the last checkpoint can be rewritten by who holds the files. Checkpoints are not signed: they prove "
        "as much as the place they are kept in.",
    ),
    "regulated": Requirement(
        "Regulated data never reaches a target that is not private, not even as the last fallback, the cache or a log; "
        "`ostiary check` proves it for the configuration.",
        (
            f"{STORY}::test_regulated_data_reaches_only_private_targets",
            "tests/exchange/test_cache.py::test_regulated_data_is_neither_kept_nor_looked_up",
            "tests/exchange/test_handover.py::test_regulated_data_is_not_kept_and_the_next_answer_is_given",
            "tests/exchange/test_purges.py::test_regulated_data_reaches_no_shared_place",
            f"{STORY}::test_on_failure_continue_never_holds_for_regulated_data",
            f"{STORY}::test_no_text_of_prompt_or_answer_stands_in_the_journal",
        ),
        "The label is the caller's word; nothing looks into the text. That a target is private is the operator's word. "
        "`check` lists which models regulated data can reach.",
    ),
    "memory": Requirement(
        "Memory stays bounded under any single hostile client or upstream, and flat over a million requests.",
        (
            "tests/attack/test_http_server.py::test_at48_fd41_a_reader_that_does_not_read_is_bounded_then_dropped",
            "tests/attack/test_http_server.py::test_at49_an_undeclared_endless_body_is_cut_at_the_bound",
            "tests/attack/test_http_server.py::test_at47_a_head_beyond_its_bounds_is_refused_early",
            "tests/attack/test_upstream_http.py::test_an_endless_body_is_cut_off_at_the_bound_in_flat_memory",
            "tests/attack/test_upstream_http.py::test_an_endless_body_that_nobody_reads_is_not_buffered",
            "tests/dialect/test_request.py::test_every_bound_is_kept_before_anything_is_built",
            "tests/tidy/test_vocabulary.py::test_every_bound_is_enforced_somewhere",
            "tests/process/test_memory.py::test_fd36_large_bodies_that_come_at_once_are_refused_before_the_kernel_ends_a_process",
            "tests/unit/serving/test_shed.py::test_fd36_the_call_that_holds_most_is_ended_first_told_why_and_its_connection_closed",
            "tests/unit/telemetry/test_metrics.py::test_at68_names_callers_make_up_never_become_series",
        ),
        "Each hostile habit has its test; their combinations do not.",
        "No run of a million requests is part of the tests.",
    ),
}
