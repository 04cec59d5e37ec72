// Node's fetch and its https: get.mjs http URL TIMES | get.mjs https ADDRESS PORT NAME ALPN
import https from "node:https";

const [how, ...args] = process.argv.slice(2);
if (how === "http") {
	for (let n = 1; n <= Number(args[1]); n++)
		await (await fetch(`${args[0]}/${n}`)).text();
} else {
	const [host, port, servername, alpn] = args;
	const options = {
		host, port, servername, ALPNProtocols: alpn.split(","), rejectUnauthorized: false,
	};
	await new Promise((done) =>
		https.get(options, (answer) => answer.resume().on("end", done)).on("error", done));
}
