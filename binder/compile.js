// Prints the creation bytecode of each Solidity source that is named, as JSON: what a contract's artifact is checked against.
// The same settings everywhere, and no metadata hash, so that the bytes follow from the source alone.
const fs = require('fs');
const path = require('path');
const solc = require('solc');

const sources = {};
for (const file of process.argv.slice(2)) {
  sources[path.basename(file)] = { content: fs.readFileSync(file, 'utf8') };
}
const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: 'prague',
  metadata: { appendCBOR: false, bytecodeHash: 'none' },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
};
const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings })));
const errors = (output.errors || []).filter((error) => error.severity === 'error');
if (errors.length) {
  for (const error of errors) console.error(error.formattedMessage);
  process.exit(1);
}
const made = {};
for (const contracts of Object.values(output.contracts)) {
  for (const [name, contract] of Object.entries(contracts)) {
    made[name] = { abi: contract.abi, bytecode: contract.evm.bytecode.object };
  }
}
console.log(JSON.stringify(made));
