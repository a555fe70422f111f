// What viem asks of a node at start. usage: viem.mjs RPC_URL   (where node_modules has viem)
import assert from "node:assert";
import { createRequire } from "node:module";

const { createPublicClient, http, keccak256, webSocket } = createRequire(`${process.cwd()}/`)("viem");
const url = process.argv[2];
const client = createPublicClient({ transport: http(url), pollingInterval: 200 });
assert.equal(await client.getChainId(), 1337);
const latest = await client.getBlock();
const block = await client.getBlock({ blockNumber: latest.number - 1n, includeTransactions: true });
const history = await client.getFeeHistory({ blockCount: 4, blockTag: "latest", rewardPercentiles: [25, 75] });
assert.equal(history.baseFeePerGas.length, 5);
assert(history.reward.length === 4 && history.gasUsedRatio.length === 4);
const tip = await client.estimateMaxPriorityFeePerGas();
const fees = await client.estimateFeesPerGas();
assert(tip > 0n && fees.maxFeePerGas > tip && (await client.getGasPrice()) > tip);
assert.equal(await client.getBlobBaseFee(), 1n);
for (const { hash } of block.transactions) {
  assert.equal(keccak256(await client.request({ method: "eth_getRawTransactionByHash", params: [hash] })), hash);
}
const of = { fromBlock: block.number, toBlock: block.number };
const logs = await client.getLogs(of);
assert(logs.length > 0 && logs.every((log) => log.blockHash === block.hash));
const blocks = await client.createBlockFilter();
const events = await client.createEventFilter({ fromBlock: block.number });
assert((await client.getFilterLogs({ filter: events })).length >= logs.length);
const changes = async (filter) => {
  for (let count = 0; count < 300; count += 1) {
    const found = await client.getFilterChanges({ filter });
    if (found.length > 0) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("waited too long for a change");
};
const [hash] = await changes(blocks);
assert.equal((await client.getBlock({ blockHash: hash })).hash, hash);
const told = await changes(events);
assert(told[0].blockNumber > block.number);
assert.equal(await client.uninstallFilter({ filter: blocks }), true);
const watch = (from) => new Promise((resolve, reject) => {
  const stop = from.watchBlocks({ onBlock: (head) => { stop(); resolve(head.number); }, onError: reject });
});
const polled = await watch(client);
const socket = createPublicClient({ transport: webSocket(url.replace("http", "ws")) });
const heard = await watch(socket);
assert(polled >= latest.number && heard >= polled);
await assert.rejects(client.getBalance({ address: logs[0].address }), /keeps no state/);
console.log(`viem: tip ${tip}, ${block.transactions.length} raw transactions, ${told.length} logs by filter, block ${heard} by WebSocket`);
process.exit(0);
