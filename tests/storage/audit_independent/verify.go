// Checks a tiled log with the packages that check Go's own module sums.
//
//	verify-go DIR VKEY OLDER...
//
// The checkpoint's signature, the root from the tiles, every entry against its hash, a
// record proof of each 997th entry, and that the log continues each OLDER checkpoint.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type dirReader struct{ dir string }

func (r dirReader) Height() int { return 8 }

func (r dirReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		// Go names the height too: tile/8/<level>/<index>.
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		data, err := os.ReadFile(filepath.Join(r.dir, path))
		if err != nil && tile.W < 256 {
			full := tile
			full.W = 256
			path = "tile/" + strings.TrimPrefix(full.Path(), "tile/8/")
			data, err = os.ReadFile(filepath.Join(r.dir, path))
			if err == nil {
				data = data[:tile.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (r dirReader) SaveTiles([]tlog.Tile, [][]byte) {}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func open(path string, verifier note.Verifier) tlog.Tree {
	data, err := os.ReadFile(path)
	check(err)
	opened, err := note.Open(data, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		check(fmt.Errorf("origin %q", lines[0]))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	var root tlog.Hash
	hash, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	copy(root[:], hash)
	return tlog.Tree{N: size, Hash: root}
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	verifier, err := note.NewVerifier(vkey)
	check(err)
	tree := open(filepath.Join(dir, "checkpoint"), verifier)
	reader := tlog.TileHashReader(tree, dirReader{dir})
	root, err := tlog.TreeHash(tree.N, reader)
	check(err)
	if root != tree.Hash {
		check(fmt.Errorf("the tiles have another root"))
	}
	var hashes []tlog.Hash
	for start := int64(0); start < tree.N; start += 256 {
		tile := tlog.Tile{H: 8, L: 0, N: start / 256, W: 256}
		if tree.N-start < 256 {
			tile.W = int(tree.N - start)
		}
		path := "tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/0/")
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		check(err)
		for len(bundle) > 0 {
			length := int(binary.BigEndian.Uint16(bundle))
			hashes = append(hashes, tlog.RecordHash(bundle[2:2+length]))
			bundle = bundle[2+length:]
		}
	}
	if int64(len(hashes)) != tree.N {
		check(fmt.Errorf("%d entries in the bundles of %d", len(hashes), tree.N))
	}
	for index := range hashes {
		if index%997 != 0 && int64(index) != tree.N-1 {
			continue
		}
		proof, err := tlog.ProveRecord(tree.N, int64(index), reader)
		check(err)
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), hashes[index]))
	}
	for _, path := range os.Args[3:] {
		old := open(path, verifier)
		proof, err := tlog.ProveTree(tree.N, old.N, reader)
		check(err)
		check(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
	}
	fmt.Println(tree.N)
}
