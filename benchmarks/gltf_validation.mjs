// Runs the Khronos glTF validator over files: npm install gltf-validator && node benchmarks/gltf_validation.mjs *.glb
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const validator = createRequire(join(process.cwd(), "package.json"))("gltf-validator");
let bad = 0;
for (const path of process.argv.slice(2)) {
  const { issues } = await validator.validateBytes(new Uint8Array(readFileSync(path)));
  console.log(`${path}: ${issues.numErrors} errors, ${issues.numWarnings} warnings, ${issues.numInfos} infos`);
  for (const message of issues.messages.filter((each) => each.severity <= 1)) console.log(`  ${message.code} ${message.pointer} ${message.message}`);
  bad += issues.numErrors;
}
console.log(`validator ${validator.version()}`);
process.exit(bad ? 1 : 0);
