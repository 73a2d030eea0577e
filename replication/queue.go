package replication

// queue is a slice consumed from the front. Positions name an item for as long as it waits:
// base is the position of items[0].
type queue[T any] struct {
	items []T
	head  int
	base  int
}

func (q *queue[T]) len() int      { return len(q.items) - q.head }
func (q *queue[T]) at(pos int) *T { return &q.items[pos-q.base] }
func (q *queue[T]) frontPos() int { return q.base + q.head }
func (q *queue[T]) push(v T) (pos int) {
	if q.head >= 1024 && q.head*2 >= len(q.items) { // else a queue that never empties grows for ever
		q.base += q.head
		q.items, q.head = append(q.items[:0], q.items[q.head:]...), 0
	}
	q.items = append(q.items, v)
	return q.base + len(q.items) - 1
}

func (q *queue[T]) pop() T {
	v := q.items[q.head]
	if q.head++; q.head == len(q.items) {
		q.base += q.head
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// bound drops the oldest until at most n wait, and says how many went.
func (q *queue[T]) bound(n int) (dropped uint64) {
	for ; q.len() > n; dropped++ {
		q.pop()
	}
	return dropped
}
