"""The table of a run."""

RATIOS = {"n": "n", "nginx": "x nginx's stream"}
"""Which figures are ratios, and to what."""


def report(results: dict) -> None:
    """Print the table of a run."""
    n = results.get("n_us")
    if n is not None:
        print(f"\nn = {n['median']} us ({n['least']} to {n['most']}): the CPU of one plain nginx proxy request")
        print("(1 KB, 32 connections) in this run; figures in n are medians of the ratio to it within a round")
    print(f"device sync: {results['fsync_ms']} ms (median of 4 KiB writes)\n")
    for name, result in results.items():
        if not isinstance(result, dict) or name in ("keys", "bounded", "n_us"):
            continue
        print(
            f"{name}: ready in {result['start_s']} s; idle {sum(result['idle_kib'].values()) // 1024} MiB {kib(result['idle_kib'])}"
        )
        for key, value in result.items():
            if isinstance(value, dict) and "cpu_us" in value:
                rest = " ".join(f"{k}={v}" for k, v in value.items() if k not in ("cpu_us", *RATIOS))
                print(f"  {key:28} {value['cpu_us']:9.1f} us{ratios(value)}   {rest}")
            elif key in ("latency", "open") or key.startswith("overload"):
                print(f"  {key:28} {value}")
            elif key.startswith("failing"):
                report_failing(key, value)
    report_bounded(results.get("bounded", {}))
    for name, value in results.get("keys", {}).items():
        print(
            f"keys {name:10} {value['cpu_us']} us{ratios(value)}  start {value['start_s']} s  {kib(value['rss_kib'])}"
        )


def ratios(value: dict) -> str:
    """A figure as a multiple of what stands beside it, with the least and the most of its rounds."""
    return "".join(
        f"  {value[key]['median']:6.2f} {unit} ({value[key]['least']:.2f} to {value[key]['most']:.2f})"
        for key, unit in RATIOS.items()
        if key in value
    )


def report_bounded(found: dict) -> None:
    """Limits, budgets and strategies, with what is aimed at beside each figure."""
    if found:
        print("ostiary with limits, budgets and strategies, none of them reached:")
    for key, value in found.items():
        if "skipped" in value:
            print(f"  {key:28} skipped: {value['skipped']}")
        elif "cpu_us" in value:
            print(
                f"  {key:28} {value['cpu_us']:9.1f} us{ratios(value)}  (aim: at most {value['aim_n']} n)   rate={value['rate']}"
            )
        else:
            print(
                f"  {key:28} p50 {value['redis_p50_ms']} ms, in memory {value['memory_p50_ms']} ms: "
                f"{value['added_p50_ms']} ms added (aim: at most {value['aim_added_p50_ms']} ms); p99 {value['redis_p99_ms']} "
                f"and {value['memory_p99_ms']} ms; at {value['rate']}/s, {value['errors']} errors"
            )


def report_failing(key: str, value: dict) -> None:
    """A failing primary, with what is aimed at beside each figure."""
    print(
        f"  {key}: {value['failed_attempts_before_the_breaker_opened']} failed attempts and "
        f"{value['errors_before']} errors until the breaker opened, then {value['failed_attempts_per_call']} a call "
        f"(aim: at most {value['aim_failed_attempts_per_call']}); own p99 {value['own_p99_ms']} ms; p99 of others {value['others_p99_ms']} ms, without the failure "
        f"{value['others_p99_ms_without']} ms: {value['others_p99_change']:+.1%} (aim: below "
        f"{value['aim_others_p99_change']:.0%}); {value['errors']} errors"
    )


def kib(found: dict[str, int]) -> str:
    return "(" + ", ".join(f"{name} {value // 1024}" for name, value in found.items()) + " MiB)"
