//! Providers that lie, throttle, stall, cut and lack: what is captured is right all the same.

use std::fmt::Write as _;

use headwater::devnet::{DevnetConfig, Faults, ReceiptFaults, SingleFault};

use crate::harness::{Appliance, Chain, config, program, until};

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 5, finality: 8, ..DevnetConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_refused_and_asked_of_another_provider() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    let (lying, liar) = chain.provider().await;
    let (honest, _) = chain.provider().await;
    liar.set_faults(Faults {
        wrong_root: 400,
        wrong_parent: 300,
        missing_receipts: 300,
        ..Faults::default()
    });
    chain.node.mine(40).unwrap();
    let appliance = Appliance::start(&config(folder.path(), &[lying, honest], "")).await;
    appliance.follows(&chain).await;
    chain.node.mine(40).unwrap();
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    let (_, metrics) = appliance.text("/metrics").await;
    let refused = metrics.lines().find(|line| {
        line.starts_with("headwater_blocks_refused_total") && line.contains("provider=\"p0\"")
    });
    assert!(refused.is_some(), "the lies are counted: {metrics}");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("refused a block"), "and logged with what differed: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_alone_is_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(5).unwrap();
    let (url, liar) = chain.provider().await;
    let config = config(folder.path(), &[url], "");
    let appliance = Appliance::start(&config).await;
    appliance.follows(&chain).await;
    for fault in [
        Faults { wrong_root: 1_000, ..Faults::default() },
        Faults { wrong_parent: 1_000, ..Faults::default() },
        Faults {
            // Neither the list nor single receipts.
            missing_receipts: 1_000,
            receipts: ReceiptFaults { single: SingleFault::Null, ..ReceiptFaults::default() },
            ..Faults::default()
        },
    ] {
        let head = chain.node.head();
        liar.set_faults(fault);
        chain.node.mine(2).unwrap();
        until("the problem", async || {
            let (_, view) = appliance.get("/v1/chains/devnet").await;
            assert_eq!(view["head"]["number"], head, "nothing of {fault:?} is captured (INV-2)");
            view["capture"]["problem"].as_str().map(drop)
        })
        .await;
        liar.set_faults(Faults::default());
        appliance.follows(&chain).await;
    }
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_another_fork_are_asked_again_and_no_lie() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(3).unwrap();
    let (url, provider) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    provider.set_faults(Faults { other_receipts: 400, ..Faults::default() });
    chain.node.mine(10).unwrap();
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    let (_, metrics) = appliance.text("/metrics").await;
    assert!(metrics.contains("cause=\"moved\""), "it happened: {metrics}");
    assert!(!metrics.contains("cause=\"wrong\""), "nobody is called a liar for it: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_stalled_cut_and_missing_answers_cost_time_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    let (first, one) = chain.provider().await;
    let (second, two) = chain.provider().await;
    one.set_faults(Faults {
        throttle: 100,
        cut: 100,
        unavailable: 50,
        null: 100,
        stall: 50,
        stall_ms: 2_500,
        ..Faults::default()
    });
    two.set_faults(Faults { throttle: 50, cut: 50, ..Faults::default() });
    chain.node.mine(60).unwrap();
    let appliance = Appliance::start(&config(folder.path(), &[first, second], "")).await;
    appliance.follows(&chain).await;
    for _ in 0..5 {
        chain.node.reorg(3).unwrap();
        appliance.follows(&chain).await;
    }
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_without_batches_receipts_by_block_or_tags_are_enough() {
    for bits in 1..8_u8 {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(small());
        let (url, provider) = chain.provider().await;
        provider.set_faults(Faults {
            no_batches: bits & 1 > 0,
            no_block_receipts: bits & 2 > 0,
            no_tags: bits & 4 > 0,
            ..Faults::default()
        });
        chain.node.mine(12).unwrap();
        let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
        appliance.follows(&chain).await;
        chain.node.reorg(2).unwrap();
        appliance.follows(&chain).await;
        appliance.has_the_chain(&chain).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_that_a_provider_takes_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(DevnetConfig { transactions: 90, ..small() });
    let (url, provider) = chain.provider().await;
    provider.set_faults(Faults { no_block_receipts: true, batch_max: 30, ..Faults::default() });
    chain.node.mine(20).unwrap();
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    appliance.has_the_chain(&chain).await;
    let (_, view) = appliance.get("/v1/providers").await;
    let found = &view["providers"][0];
    assert!(found["takes_batches"] == true && found["batch_max"] == 22, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_costs_two_calls_in_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(200).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    until("the history", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["captured_blocks"] == 201).then_some(())
    })
    .await;
    let sum = |metrics: &str, words: &[&str]| -> u64 {
        let lines = metrics.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    // A poll that is under way is counted as a call and not yet as a request.
    until("a quiet moment: the receipts share a request with the block (INV-12)", async || {
        let (_, metrics) = appliance.text("/metrics").await;
        let receipts = sum(&metrics, &["headwater_rpc_requests_total{", "eth_getBlockReceipts"]);
        assert_eq!(receipts, 201, "one call for the receipts of a block (INV-12): {metrics}");
        let calls = sum(&metrics, &["headwater_rpc_requests_total{"]);
        let requests = sum(&metrics, &["headwater_rpc_request_seconds_count{"]);
        (calls - requests == 201).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_cut_off_and_asked_of_another_provider() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (endless, provider) = chain.provider().await;
    let (honest, _) = chain.provider().await;
    provider.set_faults(Faults { endless: 500, ..Faults::default() });
    let path = config(folder.path(), &[endless, honest], "");
    let text = std::fs::read_to_string(&path).unwrap();
    let bounded =
        text.replace("timeout_secs = 2\n", "timeout_secs = 2\nanswer_bytes_max = 4000000\n");
    std::fs::write(&path, bounded).unwrap();
    let appliance = Appliance::start(&path).await;
    for _ in 0..10 {
        chain.node.mine(1).unwrap();
        appliance.follows(&chain).await;
    }
    let (_, metrics) = appliance.text("/metrics").await;
    assert!(metrics.contains("cause=\"too_big\""), "{metrics}");
    appliance.has_the_chain(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_takes_each_part_of_a_block_where_it_is_cheapest() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(420).unwrap();
    let (credits, _) = chain.provider().await;
    let (units, _) = chain.provider().await;
    let path = config(folder.path(), &[], "");
    let mut text = std::fs::read_to_string(&path).unwrap();
    // A hundredth of the free plans: whole blocks end at 30,000 / 1,080 and 10,000 / 40, together
    // 277; 375 with a block for 80 credits and its receipts for 20 units, and 62 whole ones beside.
    // Some less, because a key is swapped before its quota ends.
    write!(
        text,
        "[[chain.provider]]\nname = \"credits\"\nurl = \"{credits}\"\npreset = \"infura\"\n\
         limits = {{ per_second = 100000, per_day = 30000 }}\n\
         [[chain.provider]]\nname = \"units\"\nurl = \"{units}\"\npreset = \"alchemy\"\n\
         limits = {{ per_second = 100000, per_day = 10000 }}\n"
    )
    .unwrap();
    std::fs::write(&path, text).unwrap();
    let backfill = |extra: &[&str]| {
        let mut command = program();
        command.args(["backfill", "0:380", "--config"]).arg(&path).args(extra);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = backfill(&["--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("in 0.9 days, 437 blocks a day, each part"), "{text}");
    let (code, text) = backfill(&[]);
    assert_eq!(code, Some(0), "{text}");
    let data = folder.path().join("data");
    let ask = |command: &[&str]| {
        let output = program().args(command).arg("--data-dir").arg(&data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let proved = "select count(*) as n from verification where \
                  verified like 'header+%transactions+receipts%'";
    let rows = ask(&["sql", "--json", proved]);
    assert!(rows.contains("380"), "the pieces fit: {rows}");
    let used = ask(&["providers"]);
    assert!(!used.contains("failed"), "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_one_of_two_providers_lacks_comes_from_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(200).unwrap();
    let (bodies, first) = chain.provider().await;
    let (receipts, second) = chain.provider().await;
    first.set_faults(Faults { null: 100, ..Faults::default() });
    second.set_faults(Faults { null: 100, ..Faults::default() });
    let path = config(folder.path(), &[], "");
    let mut text = std::fs::read_to_string(&path).unwrap();
    let (cheap, dear) = (1, 1_000);
    for (name, url, body, receipts) in
        [("bodies", bodies, cheap, dear), ("receipts", receipts, dear, cheap)]
    {
        write!(
            text,
            "[[chain.provider]]\nname = \"{name}\"\nurl = \"{url}\"\n\
             limits = {{ per_day = 100000000 }}\n\
             costs = {{ eth_getBlockByNumber = {body}, eth_getBlockReceipts = {receipts} }}\n"
        )
        .unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    until("the history", async || {
        let (_, view) = appliance.get("/v1/chains/devnet").await;
        (view["captured_blocks"] == 201).then_some(())
    })
    .await;
    appliance.has_the_chain(&chain).await;
    let (_, view) = appliance.get("/v1/providers").await;
    let answered = |at: usize, method: &str| {
        view["providers"][at]["calls"][method]["answered"].as_u64().unwrap_or_default()
    };
    let apart = answered(0, "eth_getBlockByNumber") > 2 * answered(0, "eth_getBlockReceipts");
    assert!(apart, "block and receipts came from two: {view}");
    let givers = "select count(*) as n from verification where provider = 'bodies+receipts'";
    let of_two = appliance.sql(givers).await[0]["n"].as_u64().unwrap();
    assert!(of_two > 100, "who gave which part is kept: {of_two}");
    let (_, metrics) = appliance.text("/metrics").await;
    assert!(metrics.contains("cause=\"block_missing\""), "it happened: {metrics}");
}
