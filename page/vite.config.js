// One script, one style sheet, one HTML file, with names that do not change: the server sends an ETag for each, and a
// change of the page is one change of each file in the repository.
import {defineConfig} from "vite";

export default defineConfig({
  base: "/page/",
  oxc: {jsx: {runtime: "automatic", importSource: "preact"}},
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    reportCompressedSize: false,
    license: {fileName: "licenses.txt"},
    rolldownOptions: {
      output: {entryFileNames: "app.js", chunkFileNames: "[name].js", assetFileNames: "app[extname]", codeSplitting: false},
    },
  },
});
