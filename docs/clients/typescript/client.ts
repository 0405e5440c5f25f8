// Signs in, buys, and follows the feed, over gRPC-Web: node built/client.js http://localhost:10000 NAME PASSWORD
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Direction } from "./gen/astra/trading/v1/trade_pb.js";
import { TradingService } from "./gen/astra/trading/v1/trading_service_pb.js";
import { UserService } from "./gen/astra/user/v1/user_service_pb.js";
import { SocialService } from "./gen/astra/social/v1/social_service_pb.js";

const [baseUrl, username, password] = process.argv.slice(2);
let token = "";
const signedIn: Interceptor = (next) => (request) => {
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const transport = createGrpcWebTransport({ baseUrl, interceptors: [signedIn], defaultTimeoutMs: 10_000 });
const users = createClient(UserService, transport);
const trading = createClient(TradingService, transport);
const social = createClient(SocialService, transport);

const session = await users.login({ username, password });
token = session.accessToken;

const leaving = new AbortController();
const feed = social.watchFeed({ userId: session.userId }, { signal: leaving.signal, timeoutMs: 20_000 })[Symbol.asyncIterator]();
await feed.next(); // the first response says that the stream has begun

const { trade } = await trading.executeTrade({
  requestId: crypto.randomUUID(),
  userId: session.userId,
  symbol: "STRK",
  direction: Direction.LONG,
  amount: { currencyCode: "USD", amount: "150" },
});
const shown = await feed.next();
leaving.abort();

let refusal = "";
try {
  await trading.executeTrade({ userId: session.userId, symbol: "NOPE", direction: Direction.LONG, amount: { currencyCode: "USD", amount: "150" } });
} catch (error) {
  refusal = Code[ConnectError.from(error).code];
}
console.log(JSON.stringify({ tradeId: trade?.tradeId, fee: trade?.fee?.amount, feed: shown.value?.feedEntry?.userId, refusal }));
