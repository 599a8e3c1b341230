#!/usr/bin/env node
// forge wants a solc executable. The compiler comes from npm as wasm, so that nothing but the lock file decides what runs;
// this gives it the two command lines forge uses.
"use strict";
const fs = require("fs");

function write(text) {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(1, bytes, done);
    } catch (e) {
      if (e.code !== "EAGAIN") throw e;
    }
  }
}

if (process.argv.includes("--version")) {
  // Asked before every forge command; loading the compiler for it would take a second.
  write(`solc, the solidity compiler commandline interface\nVersion: ${require("solc/package.json").version}\n`);
} else if (process.argv.includes("--standard-json")) {
  write(require("solc").compile(fs.readFileSync(0, "utf8")));
} else {
  process.stderr.write("solc.js: only --version and --standard-json\n");
  process.exit(2);
}
