// What ethers asks of a node at start. usage: ethers.mjs RPC_URL   (where node_modules has ethers)
import assert from "node:assert";
import { createRequire } from "node:module";

const { JsonRpcProvider, WebSocketProvider, Transaction, keccak256 } = createRequire(`${process.cwd()}/`)("ethers");
const url = process.argv[2];
const provider = new JsonRpcProvider(url);
provider.pollingInterval = 200;
const network = await provider.getNetwork();
assert.equal(network.chainId, 1337n);
const fees = await provider.getFeeData();
const latest = await provider.getBlock("latest", true);
assert(fees.gasPrice > latest.baseFeePerGas / 2n && fees.maxFeePerGas > 0n && fees.maxPriorityFeePerGas > 0n);
const block = await provider.getBlock(latest.number - 1, true);
const logs = await provider.getLogs({ fromBlock: block.number, toBlock: block.number });
assert(logs.length > 0 && logs.every((log) => log.blockHash === block.hash));
for (const hash of block.transactions) {
  const receipt = await provider.getTransactionReceipt(hash);
  assert.equal(receipt.blockHash, block.hash);
  const raw = await provider.send("eth_getRawTransactionByHash", [hash]);
  assert.equal(keccak256(raw), hash);
  assert.equal(Transaction.from(raw).hash, hash);
}
const next = (source, event) => new Promise((resolve) => source.once(event, resolve));
const first = await next(provider, "block");
const second = await next(provider, "block");
assert(second > first);
const log = await next(provider, { address: logs[0].address });
assert.equal(log.address, logs[0].address);
const socket = new WebSocketProvider(url.replace("http", "ws"));
const heard = await next(socket, "block");
assert(heard >= second);
await assert.rejects(provider.getBalance(logs[0].address), /keeps no state/);
await assert.rejects(provider.broadcastTransaction(await provider.send("eth_getRawTransactionByHash", [block.transactions[0]])));
console.log(`ethers: fees ${fees.gasPrice}, ${block.transactions.length} receipts and raw transactions, block ${heard} by WebSocket`);
await socket.destroy();
provider.destroy();
process.exit(0);
