package llama

import "testing"

func TestLayersThatFit(t *testing.T) {
	layers := []int64{100, 100, 100, 100, 300} // four blocks and the head
	for _, c := range []struct {
		free, reserved int64
		want           int
	}{
		{0, 0, 0}, {100, 0, 0}, {112, 0, 1}, {223, 0, 2}, {445, 0, 4}, {700, 0, 4}, {778, 0, 5}, {778, 10, 4}, {1 << 40, 1 << 40, 0}, {500, 300, 1},
	} {
		if got := layersThatFit(layers, c.free, c.reserved); got != c.want {
			t.Errorf("of %d bytes with %d reserved: %d layers, want %d", c.free, c.reserved, got, c.want)
		}
	}
}
