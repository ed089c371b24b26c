"""Lets the wheel of torch run on a CPU without the libraries of CUDA that it is linked with, which are some GiB: puts empty ones
in their place, whose symbols nothing calls, and has Python look functions up when they are first called. CUDA's own small
runtime library must be there. Where torch is not linked with CUDA there is nothing to do."""
import glob, os, re, subprocess, sysconfig

packages = sysconfig.get_paths()["purelib"]
folder = os.path.join(packages, "torch", "lib")
libraries = glob.glob(folder + "/*.so*") + glob.glob(packages + "/nvidia/**/*.so*", recursive=True)


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


needed, undefined, defined = set(), set(), set()
for library in libraries:
    needed.update(re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", library)))
    for kind, name in re.findall(r"^[0-9a-f ]{16} ([A-Za-z]) ([^@\n]+)", output("nm", "-D", library), re.M):
        (undefined if kind == "U" else defined).add(name)
cuda = re.compile(r"(lib)?(cu|nv|nccl)")
missing = sorted(name for name in needed - {os.path.basename(x) for x in libraries} if cuda.match(name))
symbols = "".join(f"char {name}[4096];\n" for name in sorted(undefined - defined) if cuda.match(name))
for i, name in enumerate(missing):
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", os.path.join(folder, name), "-Wl,-soname," + name]
    subprocess.run(command, input=symbols if i == 0 else "", text=True, check=True)
if missing:
    with open(os.path.join(packages, "lazy_symbols.pth"), "w") as f:
        f.write("import os, sys; sys.setdlopenflags(os.RTLD_LAZY)\n")
