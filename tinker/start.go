package tinker

// startAnew forgets the optimizer's state: a new Trainer begins with the weights of the one there is.
func (m *model) startAnew() error {
	spec := m.spec(m.maxTokens)
	spec.Start = m.trainer.LoRA()
	if err := m.trainer.Close(); err != nil {
		return err
	}
	t, err := m.service.o.NewTrainer(spec)
	if err != nil {
		return err
	}
	m.trainer = t
	return nil
}
