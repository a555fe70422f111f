//! Receipts that do not come, or not whole: they are had by another way, or another time, and a
//! block that cannot be had at all stops nothing but what needs it.

use std::path::Path;
use std::time::Duration;

use headwater::clock;
use headwater::devnet::{DevnetConfig, Faults, ListFault, ReceiptFaults, SingleFault};

use crate::harness::{Appliance, Chain, config, program, until};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 4, finality: 8, ..DevnetConfig::default() }
}

/// Lists of every third block that are not right.
fn lists(list: ListFault) -> Faults {
    let receipts = ReceiptFaults { list, every: 3, ..ReceiptFaults::default() };
    Faults { receipts, ..Faults::default() }
}

/// One block that has no receipts at all.
fn without(number: u64, list: ListFault) -> Faults {
    let single = SingleFault::Null;
    let receipts = ReceiptFaults { list, single, from: number, count: 1, every: 0 };
    Faults { receipts, ..Faults::default() }
}

/// Every block is there and proved.
async fn is_proved(appliance: &Appliance, chain: &Chain) {
    appliance.has_the_chain(chain).await;
    let proved = "select count(*) as n from verification \
                  where verified like 'header+%transactions+receipts%'";
    let rows = appliance.sql(proved).await;
    assert_eq!(rows[0]["n"], chain.node.head() + 1, "all of it is proved");
}

/// Follows a chain of which some lists are not right, with one provider.
async fn comes_round(fault: ListFault) {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (url, provider) = chain.provider().await;
    provider.set_faults(lists(fault));
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    // The next one is of those.
    chain.node.mine(1).unwrap();
    appliance.follows(&chain).await;
    is_proved(&appliance, &chain).await;
    eprintln!("{fault:?} came round");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_not_whole_are_completed_by_single_receipts() {
    for fault in [ListFault::Missing, ListFault::NullElement, ListFault::TooMany, ListFault::Twice]
    {
        comes_round(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_other_blocks_or_in_another_order_do_not_stop_a_chain() {
    for fault in [ListFault::Shuffled, ListFault::OtherBlock, ListFault::OtherElement] {
        comes_round(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_never_come_are_replaced_by_single_receipts() {
    for fault in [ListFault::Null, ListFault::Empty, ListFault::Error] {
        comes_round(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_too_large_or_need_a_hash_are_asked_for_so() {
    for fault in [
        ListFault::TooLarge,
        ListFault::TooLargeInBatch,
        ListFault::HashOnly,
        ListFault::HashObjectOnly,
    ] {
        comes_round(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_receipts_that_are_too_large_for_a_batch_are_asked_for_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(12).unwrap();
    let (url, provider) = chain.provider().await;
    let (list, single) = (ListFault::TooLarge, SingleFault::TooLargeInBatch);
    let receipts = ReceiptFaults { list, single, ..ReceiptFaults::default() };
    provider.set_faults(Faults { receipts, ..Faults::default() });
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    is_proved(&appliance, &chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_provider_lacks_comes_from_the_other_before_another_way_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (broken, one) = chain.provider().await;
    let (whole, _) = chain.provider().await;
    let list = ListFault::Missing;
    let receipts =
        ReceiptFaults { list, single: SingleFault::OneFails, ..ReceiptFaults::default() };
    one.set_faults(Faults { receipts, ..Faults::default() });
    let appliance = Appliance::start(&config(folder.path(), &[broken, whole], "")).await;
    appliance.follows(&chain).await;
    is_proved(&appliance, &chain).await;
    let (_, metrics) = appliance.text("/metrics").await;
    assert!(!metrics.contains("method=\"eth_getTransactionReceipt\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_providers_that_lack_different_things_are_enough_with_traces_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (first, one) = chain.provider().await;
    let (second, two) = chain.provider().await;
    let faults = |list, single, no_trace_block| {
        let receipts = ReceiptFaults { list, single, ..ReceiptFaults::default() };
        Faults { receipts, no_trace_block, no_debug_trace: no_trace_block, ..Faults::default() }
    };
    one.set_faults(faults(ListFault::NullElement, SingleFault::NoMethod, false));
    two.set_faults(faults(ListFault::Error, SingleFault::None, true));
    let path = config(folder.path(), &[first, second], "");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("start = 0\n", "start = 0\ntraces = true\n")).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    chain.node.mine(2).unwrap();
    appliance.follows(&chain).await;
    is_proved(&appliance, &chain).await;
    let traced = appliance.sql("select count(distinct block_number) as n from traces").await;
    assert!(traced[0]["n"].as_u64().unwrap() > 20, "{traced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_takes_is_learned_so_that_a_block_costs_two_calls() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(3).unwrap();
    let (url, provider) = chain.provider().await;
    let receipts = ReceiptFaults { list: ListFault::HashOnly, ..ReceiptFaults::default() };
    provider.set_faults(Faults { receipts, ..Faults::default() });
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    let calls = async || -> u64 {
        let (_, view) = appliance.get("/v1/providers").await;
        let of = &view["providers"][0]["calls"]["eth_getBlockReceipts"];
        of["answered"].as_u64().unwrap()
    };
    let before = calls().await;
    for _ in 0..10 {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
    }
    assert_eq!(calls().await - before, 10, "by hash at the first question");
}

/// New receipts come late: for so long they are as `fault` says.
async fn comes_late(fault: ListFault) {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(12).unwrap();
    let (url, provider) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    provider.set_faults(without(13, fault));
    chain.node.mine(1).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (status, ready) = appliance.get("/readyz").await;
    assert_eq!(status, 200, "a delay is no failure: {ready}");
    provider.set_faults(Faults::default());
    let there = clock::now();
    appliance.follows(&chain).await;
    // It is asked for at least once a second; some more for a busy machine.
    assert!(there.elapsed() < Duration::from_secs(5), "{fault:?}: {:?}", there.elapsed());
    let (_, view) = appliance.get("/v1/providers").await;
    assert_eq!(view["providers"][0]["is_resting"], false, "{view}");
    let (_, metrics) = appliance.text("/metrics").await;
    let refused = metrics.lines().find(|line| line.starts_with("headwater_blocks_refused_total{"));
    assert!(refused.is_none_or(|line| line.ends_with(" 0")), "{fault:?}: {refused:?}");
    is_proved(&appliance, &chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_a_new_head_that_are_not_there_yet_are_waited_for() {
    for fault in [ListFault::Null, ListFault::Empty, ListFault::Error, ListFault::NullElement] {
        comes_late(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_does_not_come_costs_less_and_less_and_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing of it is final.
    let mut chain = Chain::new(DevnetConfig { finality: 100, ..small() });
    chain.node.mine(20).unwrap();
    let (url, provider) = chain.provider().await;
    provider.set_faults(without(15, ListFault::Error));
    let path = config(folder.path(), &[url], "");
    // As it is by default: nobody says how often the head is to be asked for.
    let text = std::fs::read_to_string(&path).unwrap().replace("poll_ms = 20\n", "");
    std::fs::write(&path, text).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.reaches(14).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    chain.node.mine(5).unwrap();
    let calls = async || -> u64 {
        let (_, metrics) = appliance.text("/metrics").await;
        let lines =
            metrics.lines().filter(|line| line.starts_with("headwater_rpc_requests_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let before = calls().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let made = calls().await - before;
    assert!(made < 40, "{made} calls in 10 s");
    let (_, view) = appliance.get("/v1/chains/devnet").await;
    assert_eq!(view["head"]["number"], 14, "{view}");
    assert_eq!(view["capture"]["provider_head"], 25, "the head is looked at: {view}");
    let problem = view["capture"]["problem"].as_str().unwrap();
    for part in [
        "block 15 since ",
        "receipts length mismatch",
        "by number",
        "by hash",
        "null",
        "one by one",
        "next try in ",
    ] {
        assert!(problem.contains(part), "{part} is not in {problem}");
    }
    let (status, ready) = appliance.get("/readyz").await;
    assert_eq!(status, 503, "{ready}");
    // It is another block meanwhile.
    chain.node.reorg(12).unwrap();
    provider.set_faults(Faults::default());
    appliance.follows(&chain).await;
    is_proved(&appliance, &chain).await;
    let (status, ready) = appliance.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_whose_receipts_stay_null_is_not_silent() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(12).unwrap();
    let (url, provider) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    provider.set_faults(without(13, ListFault::Null));
    chain.node.mine(1).unwrap();
    let since = clock::now();
    let reason = until("that it is not ready", async || {
        let (status, ready) = appliance.get("/readyz").await;
        (status == 503).then(|| ready["reasons"][0]["reason"].as_str().unwrap().to_owned())
    })
    .await;
    let waited = since.elapsed();
    assert!((9..45).contains(&waited.as_secs()), "{waited:?}: {reason}");
    assert!(
        reason.contains("block 13 since ") && reason.contains("receipts null from p0"),
        "{reason}"
    );
    until("a line in the log", async || {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        (log.contains("capture is behind") && log.contains("receipts null from p0")).then_some(())
    })
    .await;
    provider.set_faults(Faults::default());
    appliance.follows(&chain).await;
    let (status, ready) = appliance.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_nobody_has_is_not_silent() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(12).unwrap();
    let (url, provider) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    provider.set_faults(Faults { announce_above: 5, ..Faults::default() });
    let reason = until("that it is not ready", async || {
        let (status, ready) = appliance.get("/readyz").await;
        (status == 503).then(|| ready["reasons"][0]["reason"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(reason.contains("block 13 since "), "{reason}");
    provider.set_faults(Faults::default());
    chain.node.mine(1).unwrap();
    appliance.follows(&chain).await;
}

fn backfill(path: &Path, range: &str) -> (Option<i32>, String) {
    let output = program().args(["backfill", range, "--config"]).arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_on_around_blocks_that_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(80).unwrap();
    let (url, provider) = chain.provider().await;
    // Three blocks whose lists are not whole, and single receipts neither.
    let (list, single) = (ListFault::Missing, SingleFault::Null);
    let receipts = ReceiptFaults { list, single, every: 10, from: 10, count: 25 };
    provider.set_faults(Faults { receipts, ..Faults::default() });
    let path = config(folder.path(), &[url], "");
    let (code, text) = backfill(&path, "0:60");
    assert_eq!(code, Some(7), "{text}");
    assert!(text.contains("57 of 60 blocks"), "{text}");
    for number in [10, 20, 30] {
        let gap = format!("blocks {number}..={number} are a gap: block {number}: receipts ");
        assert!(text.contains(&gap), "{gap} is not in {text}");
    }
    provider.set_faults(Faults::default());
    let (code, text) = backfill(&path, "0:60");
    assert_eq!(code, Some(0), "the rest is fetched once it can be had: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_for_a_while_makes_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(80).unwrap();
    let (url, provider) = chain.provider().await;
    let (second, poor) = chain.provider().await;
    // One that has nothing of the range, and one that is away.
    poor.set_faults(Faults { pruned_below: 65, ..Faults::default() });
    provider.set_faults(Faults { unavailable: 1_000, ..Faults::default() });
    let path = config(folder.path(), &[url, second], "");
    let back = provider.clone();
    let comes_back = async move {
        tokio::time::sleep(Duration::from_secs(9)).await;
        back.set_faults(Faults::default());
    };
    let run = tokio::task::spawn_blocking(move || backfill(&path, "0:60"));
    let (result, ()) = tokio::join!(run, comes_back);
    let (code, text) = result.unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("60 of 60 blocks") && !text.contains("gap"), "{text}");
}
